"""``plimsoll nodes`` against a real API."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane.cli.nodes import print_nodes
from controlplane.cli.text import lasted
from controlplane.client import Node
from controlplane.resources.resource import CLUSTER, ENDPOINT
from controlplane.xds import Locality, NodeStatus, Rejection, TypeStatus
from tests.api.served import Served, served
from tests.cli.answering import run

REJECTION = Rejection(("minilm",), "no port \x1b[2J [red]", 88.0)


def of_type(
    url: str,
    sent: str,
    acknowledged: str,
    held: int,
    at: float | None,
    rejection: Rejection | None = None,
) -> TypeStatus:
    """Sent at a time, and acknowledged then if at all; clusters by wildcard, endpoints by name."""
    return TypeStatus(
        type_url=url,
        wildcard=url == CLUSTER,
        subscribed=0 if url == CLUSTER else 4,
        sent=sent,
        sent_at=at,
        acknowledged=acknowledged,
        acknowledged_at=at if acknowledged else None,
        held=held,
        rejection=rejection,
    )


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    """Two Envoys at second 100: one in sync since 60 s, one that has rejected its clusters."""
    async with served() as here:
        here.nodes += [
            NodeStatus(
                "sidecar-1",
                "apps",
                Locality("eu", "a"),
                "envoy",
                "1.40.0",
                40.0,
                (of_type(CLUSTER, "v1", "v1", 2, 60.0), of_type(ENDPOINT, "v", "v", 3, 60.0)),
            ),
            NodeStatus(
                "sidecar-2",
                "apps",
                Locality("", ""),
                "grpc-python",
                "1.70",
                95.0,
                (
                    of_type(CLUSTER, "v2", "v1", 1, 87.0, REJECTION),
                    of_type(ENDPOINT, "v", "", 0, None),
                ),
            ),
        ]
        yield here


def cells(output: str) -> list[list[str]]:
    """The words of every line that is about a type."""
    return [line.split() for line in output.splitlines() if "cds " in line or "eds " in line]


async def test_each_type_of_each_envoy_has_a_line(api: Served) -> None:
    result = await run(api, "nodes")
    assert result.exit_code == 0
    lines = cells(result.stdout.partition("sidecar-2: ")[0])
    assert [" ".join(line) for line in lines] == [
        "sidecar-1 1.40.0 eu/a 60 s cds in sync 2/all 40 s 40 s",
        "eds in sync 3/4 40 s 40 s",
        "sidecar-2 grpc-python 1.70 - 5.0 s cds rejected 1/all 13 s 13 s",
        "eds waiting 0/4 - -",
    ]


async def test_a_rejection_is_told_in_the_words_of_the_envoy_without_its_control_codes(
    api: Served,
) -> None:
    last = (await run(api, "nodes")).stdout.splitlines()[-1]
    assert last == "sidecar-2: rejected cds minilm, 12 s ago: no port �[2J [red]"


async def test_in_json_it_is_what_the_api_says(api: Served) -> None:
    result = await run(api, "nodes", "--json")
    assert json.loads(result.stdout) == (await api.ask("GET", "/v1/nodes")).body


async def test_without_an_envoy_it_says_so() -> None:
    async with served() as empty:
        assert (await run(empty, "nodes")).stdout == "no Envoy is connected\n"


def node(*types: dict[str, Any], **more: Any) -> dict[str, Any]:
    locality = {"region": "eu", "zone": "a", "sub_zone": ""}
    known = {"id": "s", "user_agent": "envoy", "version": "1.40.0", "locality": locality}
    return {**known, "connected_s": 5.0, "types": list(types), **more}


def status(**more: Any) -> dict[str, Any]:
    return {
        "type_url": CLUSTER,
        "in_sync": True,
        "held": 3,
        "last_rejection": None,
        "sent_age_s": 12.0,
        "acknowledged_age_s": 11.0,
        "wildcard": False,
        "subscribed": 4,
        **more,
    }


@pytest.fixture(autouse=True)
def no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


def printed(capsys: pytest.CaptureFixture[str], *nodes: dict[str, Any]) -> str:
    print_nodes([Node.model_validate(item) for item in nodes])
    return capsys.readouterr().out


def test_ages_and_what_was_asked_for_are_shown_where_the_api_has_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    every = status(wildcard=True, held=7, acknowledged_age_s=None)
    lines = cells(printed(capsys, node(status(), every)))
    assert [line[-5:] for line in lines] == [
        ["3/4", "12", "s", "11", "s"],
        ["sync", "7/all", "12", "s", "-"],
    ]


@pytest.mark.parametrize(
    ("rejected_age", "shown"), [(11.0, "rejected"), (12.0, "rejected"), (13.0, "waiting")]
)
def test_what_was_sent_after_a_rejection_is_waited_for(
    rejected_age: float, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rejection = {"names": ["a"], "message": "bad", "age_s": rejected_age}
    output = printed(capsys, node(status(in_sync=False, last_rejection=rejection)))
    assert shown in cells(output)[0]


def test_an_envoy_that_asks_for_nothing_is_there_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "idle" in printed(capsys, node(id="mute"))


def test_a_name_that_hides_what_a_terminal_would_obey_is_harmless(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = printed(capsys, node(status(), id="s\a", version="1\a", user_agent="envoy"))
    assert "s�" in output
    assert "1�" in output


def test_the_words_of_an_envoy_stay_on_one_line_for_a_pipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rejection = {"names": ["a"], "message": "bad " * 60, "age_s": 1.0}
    output = printed(capsys, node(status(last_rejection=rejection)))
    assert output.splitlines()[-1].count("bad") == 60


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (-0.1, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (119.0, "119 s"),
        (120.0, "2.0 min"),
        (7199.0, "120 min"),
        (7200.0, "2.0 h"),
        (172_800.0, "2.0 d"),
        (8_640_000.0, "100 d"),
    ],
)
def test_a_time_has_one_unit(seconds: float | None, words: str) -> None:
    assert lasted(seconds) == words


def test_below_the_table_stands_whose_health_a_node_sees_otherwise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = {"pool": "p", "replica": "r", "sees": "unhealthy", "for_s": 30.0}
    output = printed(capsys, node(status(), disagrees=[seen]))
    assert "s: has seen p/r unhealthy for 30 s; the control plane sees it ready" in output


def test_what_stands_refused_is_not_in_sync_whatever_was_acknowledged_since(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rejection = {"names": ["minilm"], "message": "no port", "age_s": 50.0}
    refusing = status(in_sync=False, refused=["minilm"], last_rejection=rejection, sent_age_s=2.0)
    assert " rejected " in printed(capsys, node(refusing)).partition("s: rejected")[0]
