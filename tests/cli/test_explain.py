"""``plimsoll explain``: the readings, and the last hour as a timeline."""

import json
import re
from collections.abc import AsyncIterator

import pytest

from controlplane.api.views import history_view, replica_view
from controlplane.cli.explain import timeline
from controlplane.cli.text import readings
from controlplane.client import History, Replica
from controlplane.config import PoolSettings, validated
from controlplane.fleet import Drain, PutPool
from controlplane.plane import Failure, Plane, Probe
from controlplane.telemetry.load import Endpoint, Load
from tests.api.parted import parted
from tests.api.served import POOL, Served, served
from tests.cli.answering import run
from tests.plane.histories import Watched
from tests.planes import report

WALL = 1_795_248_000.0


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with served() as empty:
        filled = await empty.filled()
        filled.plane.probed(filled.target("a"), Probe.HEALTHY, filled.now)
        filled.decide()
        yield filled


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")


def lines(watched: Watched) -> list[str]:
    return list(
        timeline(History.model_validate(history_view("m", "a", watched.told(), watched.now, WALL)))
    )


def test_readings_are_one_line_with_units_and_their_age() -> None:
    watched = Watched().go(60)
    watched.queue["a"] = 3.0
    watched.go(0.5)
    now = watched.now + 0.25
    known = replica_view(watched.plane.report("m", "a", now), now)
    assert readings(Replica.model_validate(known)) == (
        "readings, 0.25 s old: 20 req/s over 5 s, mean latency 10 ms, p99 at most 9.9 ms, 0.2 in"
        " flight, 3 waiting, GPU memory of GPU-a 50 %"
    )


def test_where_nothing_was_read_it_says_so() -> None:
    watched = Watched()
    known = replica_view(watched.plane.report("m", "a", 0.0), 0.0)
    assert readings(Replica.model_validate(known)) == "no readings"
    assert (
        readings(Replica.model_validate(known | {"in_flight": 4.0}))
        == "4 in flight by load reports"
    )


LOADED = (
    "load reports, 0.25 s old: 25 req/s over 5 s, mean latency 120 ms, 3 in flight, now 3,"
    " 16.7 % failed"
)


def reported(plane: Plane, begun: float, at: Endpoint) -> float:
    """Two Envoys end 30 requests a second, one of six with an error; returns when the last was."""
    for second in range(1, 12):
        report(plane, "one", {at: Load(15, 5, 2)}, 1.0, begun + second)
        report(plane, "two", {at: Load(10, 0, 1)}, 1.0, begun + second)
    return begun + 11


def test_load_reports_stand_behind_the_readings_with_an_age_of_their_own() -> None:
    watched = Watched().go(60)
    now = reported(watched.plane, 49.0, Endpoint("m", "10.0.0.1", 81)) + 0.25
    known = Replica.model_validate(replica_view(watched.plane.report("m", "a", now), now))
    assert readings(known) == (
        "readings, 0.25 s old: 20 req/s over 5 s, mean latency 10 ms, p99 at most 9.9 ms, 0.2 in"
        f" flight, 0 waiting, GPU memory of GPU-a 50 %; {LOADED}"
    )


async def test_a_pool_without_metrics_shows_what_envoys_report_now_and_in_its_history(
    api: Served,
) -> None:
    body = {**POOL, "metrics": {"profile": "none"}}
    api.plane.apply(PutPool("m", validated(PoolSettings, body)), api.now)
    api.now = reported(api.plane, api.now, Endpoint("m", "127.0.0.1", 9001)) + 0.25
    api.decide()
    text = (await run(api, "explain", "m", "--replica", "a")).stdout.splitlines()
    assert text[2] == f"  {LOADED}"
    assert "Not scraped (metrics profile none); Envoys report its load" in text[3]
    past = (await run(api, "explain", "m", "--replica", "a", "--history")).stdout
    assert f"; {LOADED}" in past
    assert "; readings" not in past


def test_a_timeline_says_when_it_fell_and_why_by_the_clock() -> None:
    watched = Watched().go(60)
    watched.plane.apply(Drain("m", "a"), watched.now)
    watched.go(0.5)
    watched.go(301, step=1.0)
    text = lines(watched)
    assert text[0] == "m/a: times in UTC, now 08:00:00"
    assert text[1] == "07:53:59  the record begins: 50 % of the traffic"
    fell = next(n for n, line in enumerate(text) if "lost its share: 50 % → 0 %" in line)
    assert text[fell].startswith("07:54:59  ")
    assert text[fell + 1] == "          an operator drained it"
    assert text[fell + 2].startswith("          0.0 % of the traffic, weight ")
    assert ", readings, " not in text[fell + 2]
    assert "; readings, 0 s old: 20 req/s" in text[fell + 2]
    assert any(line.endswith("  as before") for line in text)


def test_what_was_not_kept_is_counted() -> None:
    watched = Watched().go(60)
    view = history_view("m", "a", watched.told(), watched.now, WALL)
    view["entries"][-1]["left_out"] = 7
    assert "          (7 more like these were not kept)" in list(
        timeline(History.model_validate(view))
    )


def test_what_a_replica_said_cannot_steer_the_terminal() -> None:
    watched = Watched().go(10)
    watched.plane.record(watched.target("a"), Failure("\x1b[2J"), watched.now)
    watched.silent.add("a")
    text = "\n".join(lines(watched.go(0.5)))
    assert "began to fail: �[2J" in text
    assert "\x1b" not in text


async def test_the_history_of_one_replica_or_of_all_is_shown(api: Served) -> None:
    both = (await run(api, "explain", "m", "--history")).stdout
    assert "m/a: times in" in both
    assert "m/b: times in" in both
    assert "it became ready" in both
    one = (await run(api, "explain", "m", "--replica", "a", "--history", "--since", "10m")).stdout
    assert "m/b" not in one
    as_json = await run(api, "explain", "m", "--replica", "b", "--history", "--json")
    (history,) = json.loads(as_json.stdout)["histories"]
    assert (history["id"], history["entries"][0]["state"]) == ("b", "starting")


async def test_nothing_of_the_time_that_was_asked_for_is_said(api: Served) -> None:
    api.now += 60
    result = await run(api, "explain", "m", "--replica", "a", "--history", "--since", "1s")
    assert result.stdout == "m/a: nothing is kept of that time\n"


async def test_the_readings_stand_under_the_headline(api: Served) -> None:
    text = (await run(api, "explain", "m", "--replica", "a")).stdout.splitlines()
    assert text[2] == "  no readings"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--since", "10m"), 2, "plimsoll: --since: goes with --history\n"),
        (("--history", "--since", "10"), 2, "plimsoll: --since: '10' is not a duration: write"),
        (("--history", "--replica", "x"), 1, "no replica 'x'"),
    ],
)
async def test_what_is_wrong_is_one_sentence(
    api: Served, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = await run(api, "explain", "m", *arguments)
    assert result.exit_code == code
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


async def test_before_the_replicas_stands_why_requests_are_parted_and_who_serves_which() -> None:
    async with parted() as api:
        text = (await run(api, "explain", "m")).stdout.splitlines()
        pool = (await api.ask("GET", "/v1/pools/m")).body
        as_json = json.loads((await run(api, "explain", "m", "--json")).stdout)
    assert text[1:3] == [f"  {sentence}" for sentence in pool["parting_reasons"]]
    assert re.fullmatch(
        r"  class bulk: requests from \d+ bytes on, [\d.]+ % of .* go to fast, same", text[3]
    )
    assert re.fullmatch(r"  class search: all others, [\d.]+ % of .* go to slow", text[4])
    assert text[5].startswith("m/fast: ")
    for key in ("parting", "parting_reasons"):
        assert as_json[key] == pool[key]
    assert [replica["id"] for replica in as_json["replicas"]] == ["fast", "same", "slow"]


async def test_of_a_pool_whose_requests_go_together_there_are_no_lines_about_classes(
    api: Served,
) -> None:
    text = (await run(api, "explain", "m")).stdout.splitlines()
    assert text[1].startswith("m/a: ")
    as_json = json.loads((await run(api, "explain", "m", "--json")).stdout)
    assert (as_json["parting"], as_json["parting_reasons"]) == (None, [])


async def test_where_zones_matter_there_is_a_line_for_each() -> None:
    near = {**POOL, "balancing": {"locality": "nearest"}}
    async with served() as api:
        await api.ask("PUT", "/v1/pools/m", json=near)
        at = {"address": "127.0.0.1:9001", "locality": {"region": "eu", "zone": "a"}}
        await api.ask("PUT", "/v1/pools/m/replicas/a", json=at)
        api.plane.probed(api.target("a"), Probe.HEALTHY, api.now)
        api.decide()
        text = (await run(api, "explain", "m")).stdout.splitlines()
        as_json = json.loads((await run(api, "explain", "m", "--json")).stdout)
    assert text[1] == "  Zone eu/a: its replicas carry an unknown amount."
    assert text[1:3] == [f"  {sentence}" for sentence in as_json["zone_reasons"]]
    assert [(zone["region"], zone["stays"]) for zone in as_json["zones"]] == [("eu", 1.0)]


async def test_a_pool_without_replicas_says_so() -> None:
    async with served() as empty:
        await empty.ask("PUT", "/v1/pools/m", json=POOL)
        assert (await run(empty, "explain", "m")).stdout == "m: no replicas\n"
