"""``plimsoll pools`` against a real API."""

import json
from collections.abc import AsyncIterator

import pytest

from controlplane.cli.pools import described
from controlplane.client import Pool
from controlplane.plane import Probe
from tests.api.served import POOL, Served, served
from tests.cli.answering import run


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with served() as here:
        await here.filled()
        here.plane.probed(here.target("a"), Probe.HEALTHY, here.now)
        await here.ask("PUT", "/v1/pools/m", json=POOL | {"objective": {"p99": "250ms"}})
        yield here


async def test_each_pool_has_a_line_with_or_without_the_word_list(api: Served) -> None:
    for arguments in (("pools",), ("pools", "list")):
        result = await run(api, *arguments)
        assert result.exit_code == 0
        row = next(line.split() for line in result.stdout.splitlines() if "127.0.0.1" in line)
        assert row == [
            "m",
            "minilm",
            "127.0.0.1:10000",
            "capacity-tiers",
            "250ms",
            "2",
            "1",
            "1",
            "starting",
        ]


async def test_in_json_it_is_what_the_api_says(api: Served) -> None:
    expected = (await api.ask("GET", "/v1/pools")).body["pools"]
    for arguments in (("pools", "--json"), ("pools", "list", "--json")):
        assert json.loads((await run(api, *arguments)).stdout) == {"pools": expected}
    shown = json.loads((await run(api, "pools", "show", "m", "--json")).stdout)
    assert shown == expected[0]


async def test_without_a_pool_it_says_so() -> None:
    async with served() as empty:
        assert (await run(empty, "pools")).stdout == "no pools\n"


async def test_one_pool_is_shown_with_where_its_settings_come_from(api: Served) -> None:
    lines = (await run(api, "pools", "show", "m")).stdout.splitlines()
    assert lines[0] == "m: 1 of 2 ready, 1 starting, declared by api"
    assert "  objective: p99 250ms  (api)" in lines
    assert any(
        line.startswith(
            "  route: prefix /, timeout 60s, retry_buffer 32MiB, explain false  (default)"
        )
        for line in lines
    )


async def test_what_is_odd_about_a_pool_is_said(api: Served) -> None:
    body = (await api.ask("GET", "/v1/pools/m")).body
    body["discovery"] = {
        "sources": [
            {
                "name": "dns x",
                "replicas": None,
                "answer_age_s": None,
                "failing": True,
                "problem": "no",
            }
        ],
        "withheld": ["q"],
        "clashes": ["that one"],
    }
    match = {"header": {"name": "x-job", "value": "nightly"}, "prefix": "/v1", "max_bytes": 9}
    body["parting"] = [
        {"name": "bulk", "match": {"min_bytes": 900}, "replicas": ["a"], "routed": False},
        {"name": "jobs", "match": match, "replicas": ["a"], "routed": True, "part_of_work": 0.3},
        {"name": "search", "match": None, "replicas": [*"abcdefghijklmno"], "routed": True},
    ]
    body |= {"suspect": True, "policy_in_force": "maglev"}
    text = "\n".join(described(Pool.model_validate(body)))
    for words in (
        "most cannot be scraped: weights are frozen, a source fails",
        "found by dns x: not answered yet; fails: no",
        "kept without a source, because too few would be left: q",
        "not used: that one",
        "class bulk: requests from 900 bytes on are about to go to a",
        "class jobs: requests with x-job: nightly to /v1 of up to 9 bytes, 30.0 % of the work, go",
        "class search: all others go to a, b, c, d, e, f, g, h, i, j, k, l and 3 more",
        "policy maglev is still in force",
    ):
        assert words in text


async def test_a_pool_is_added_and_changed_and_its_replicas_stay(api: Served) -> None:
    new = ("--model", "x", "--listener", "127.0.0.1:10001")
    result = await run(
        api, "pools", "add", "n", *new, "--objective", "1s", "--policy", "round-robin"
    )
    assert (result.exit_code, result.stdout) == (0, "n: model x, listener 127.0.0.1:10001\n")
    settings = api.plane.fleet.pool("n").settings
    assert settings.objective is not None
    assert (settings.objective.p99, settings.balancing.policy) == (1.0, "round-robin")
    more = ("--model", "y", "--listener", "127.0.0.1:10000", "--profile", "tei", "--json")
    put = json.loads((await run(api, "pools", "add", "m", *more)).stdout)
    assert (put["model"], put["metrics"]["profile"]) == ("y", "tei")
    assert [replica["id"] for replica in put["replicas"]] == ["a", "b"]


async def test_without_a_terminal_no_pool_is_removed_unasked(api: Served) -> None:
    result = await run(api, "pools", "remove", "m", typed="y\n")
    assert result.exit_code == 2
    assert result.stderr == (
        "plimsoll: remove pool m with its replicas? there is no terminal to ask on: add --yes\n"
    )
    assert "m" in api.plane.fleet.pools


async def test_with_yes_a_pool_is_removed(api: Served) -> None:
    result = await run(api, "pools", "remove", "m", "--yes", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"pool": "m", "removed": True})
    assert not api.plane.fleet.pools


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("show", "q"), "there is no pool 'q'"),
        (("remove", "q", "--yes"), "there is no pool 'q'"),
        (("add", "n", "--model", "x", "--listener", "nowhere"), "listener/address"),
        (("add", "n", "--model", "x", "--listener", "127.0.0.1:10000"), ""),
    ],
)
async def test_what_the_api_refuses_is_one_sentence(
    api: Served, arguments: tuple[str, ...], sentence: str
) -> None:
    result = await run(api, "pools", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence.replace("/", ".") in result.stderr
    assert result.stderr.count("\n") == 1
