"""``plimsoll replicas`` and ``plimsoll explain`` against a real API."""

import json
from collections.abc import AsyncIterator

import pytest
from click.testing import CliRunner

from controlplane.cli.group import plimsoll
from controlplane.plane import Failure, Probe
from tests.api.served import POOL, Served, served
from tests.cli.answering import run

TOKEN = "s3cret"  # noqa: S105 - of a server that only this test knows


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with served() as here:
        yield await here.filled()


async def test_a_list_has_a_line_for_each_replica(api: Served) -> None:
    result = await run(api, "replicas", "list")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines() if "127.0.0.1" in line]
    assert [row[:4] for row in rows] == [
        ["m", "a", "127.0.0.1:9001", "starting"],
        ["m", "b", "127.0.0.1:9002", "starting"],
    ]


async def test_a_list_in_json_is_what_the_api_says(api: Served) -> None:
    result = await run(api, "replicas", "list", "m", "--json")
    expected = (await api.ask("GET", "/v1/pools/m/replicas")).body
    assert json.loads(result.stdout) == {"replicas": expected["replicas"]}


async def test_an_ipv6_address_is_printed_with_its_brackets(api: Served) -> None:
    assert (await run(api, "replicas", "add", "m", "c", "[fd00::1]:9003")).exit_code == 0
    assert "[fd00::1]:9003" in (await run(api, "replicas", "list")).stdout


async def test_a_list_without_replicas_says_so() -> None:
    async with served() as empty:
        assert (await run(empty, "replicas", "list")).stdout == "no replicas\n"


async def test_every_option_of_add_reaches_the_replica(api: Served) -> None:
    options = ("--slots", "4", "--region", "eu", "--zone", "a", "--gpu", "GPU-1")
    more = ("--label", "rack=7", "--label", "kind=a:b", "--ttl", "30s")
    result = await run(api, "replicas", "add", "m", "c", "127.0.0.1:9003", *options, *more)
    assert (result.exit_code, result.stdout) == (0, "m/c: at 127.0.0.1:9003, starting\n")
    settings = api.plane.fleet.pool("m").replica("c").settings
    assert (settings.slots, settings.ttl, settings.gpu and settings.gpu.uuid) == (4, 30.0, "GPU-1")
    assert settings.labels == {"rack": "7", "kind": "a:b"}
    assert (settings.locality.region, settings.locality.zone) == ("eu", "a")


async def test_what_the_api_refuses_is_one_sentence_and_exit_code_1(api: Served) -> None:
    for arguments, sentence in (
        (("add", "m", "c", "127.0.0.1:9001"), "address 127.0.0.1:9001 is already that of"),
        (("add", "m", "c", "127.0.0.1:0"), "address: port 0 reaches nothing"),
        (("add", "m", "../x", "127.0.0.1:9003"), "'../x' cannot name a replica"),
        (("drain", "m", "q"), "pool 'm' has no replica 'q'"),
        (("list", "q"), "there is no pool 'q'"),
    ):
        result = await run(api, "replicas", *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"plimsoll: {sentence}")
        assert result.stderr.count("\n") == 1


async def test_a_label_without_a_value_is_bad_usage(api: Served) -> None:
    result = await run(api, "replicas", "add", "m", "c", "127.0.0.1:9003", "--label", "rack")
    assert result.exit_code == 2
    assert "--label: 'rack' is not KEY=VALUE" in result.stderr


async def test_draining_and_undraining_reach_the_replica(api: Served) -> None:
    assert (await run(api, "replicas", "drain", "m", "a")).stdout == "m/a: draining\n"
    assert api.plane.fleet.pool("m").replica("a").draining is not None
    assert (await run(api, "replicas", "undrain", "m", "a")).stdout == "m/a: no longer draining\n"
    assert api.plane.fleet.pool("m").replica("a").draining is None


async def test_without_a_terminal_nothing_is_removed_unasked(api: Served) -> None:
    result = await run(api, "replicas", "remove", "m", "a", typed="y\n")
    assert result.exit_code == 2
    assert "there is no terminal to ask on: add --yes" in result.stderr
    assert "a" in api.plane.fleet.pool("m").replicas


async def test_with_yes_a_replica_is_removed(api: Served) -> None:
    result = await run(api, "replicas", "remove", "m", "a", "--yes")
    assert (result.exit_code, result.stdout) == (0, "m/a: removed\n")
    assert list(api.plane.fleet.pool("m").replicas) == ["b"]


async def test_explain_gives_each_replica_a_headline_and_its_reasons(api: Served) -> None:
    api.plane.probed(api.target("a"), Probe.HEALTHY, api.now)
    api.plane.record(api.target("a"), Failure("it said \x1b[2J"), api.now)
    api.plane.decide(api.now)
    lines = (await run(api, "explain", "m")).stdout.splitlines()
    assert lines[0] == "m: policy capacity-tiers; Envoy knows what each replica can carry"
    assert lines[1].startswith("m/a: ready, tier-")
    assert lines[3].startswith("  The last scrape failed: it said �[2J;")
    assert any(line.startswith("m/b: starting") for line in lines)
    assert "  Not known to Envoy yet: its health check /health" in "\n".join(lines)


async def test_explain_says_which_policy_is_in_force_and_that_it_has_no_weights(
    api: Served,
) -> None:
    balancing = {"policy": "maglev", "hash": {"header": "x-user"}}
    await api.ask("PUT", "/v1/pools/m", json=POOL | {"balancing": balancing})
    api.plane.probed(api.target("a"), Probe.HEALTHY, api.now)
    api.plane.decide(api.now)
    lines = (await run(api, "explain", "m")).stdout.splitlines()
    assert lines[0] == "m: policy maglev; Envoy does not know what each replica can carry"
    assert lines[1].startswith("m/a: ready, policy maglev, no weight of its own, capacity -")
    assert any(
        line.startswith("  Policy maglev: requests with the same header x-user go to the")
        for line in lines
    )


async def test_explain_can_be_asked_about_one_replica(api: Served) -> None:
    result = await run(api, "explain", "m", "--replica", "b", "--json")
    assert [replica["id"] for replica in json.loads(result.stdout)["replicas"]] == ["b"]


async def test_the_token_is_taken_from_the_environment() -> None:
    async with served(token=TOKEN) as guarded:
        assert (await run(guarded, "replicas", "list", token=f"{TOKEN}\n")).exit_code == 0
        refused = await run(guarded, "replicas", "list")
        assert refused.exit_code == 1
        assert refused.stderr.endswith("; set PLIMSOLL_TOKEN\n")


@pytest.mark.parametrize(
    "url", ["foo", "127.0.0.1:8080", "ftp://h", "http://", "http://[", "http://h:x"]
)
def test_a_url_that_is_none_is_bad_usage(url: str) -> None:
    result = CliRunner().invoke(plimsoll, ["replicas", "list", "--url", url])
    assert result.exit_code == 2
    assert result.stderr.startswith("plimsoll: --url: ")
