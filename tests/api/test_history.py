"""``GET .../replicas/{id}/history``: wall-clock times, how far back, and what is refused."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from controlplane.api.views import history_view
from controlplane.plane import Probe
from tests.api.served import Served, served
from tests.plane.histories import Watched

PATH = "/v1/pools/m/replicas/a/history"


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with served() as empty:
        filled = await empty.filled()
        filled.plane.probed(filled.target("a"), Probe.HEALTHY, filled.now)
        filled.decide()
        yield filled


def test_times_are_those_of_the_calendar() -> None:
    watched = Watched().go(60)
    wall = datetime(2026, 11, 21, 8, 0, 30, tzinfo=UTC).timestamp()
    view = history_view("m", "a", watched.told(), watched.now, wall)
    first = view["entries"][0]
    assert (view["now"], view["kept_s"]) == ("2026-11-21T08:00:30.000Z", 3600.0)
    assert (first["at"], first["age_s"]) == ("2026-11-21T07:59:30.500Z", 59.5)


def test_an_entry_has_the_keys_of_a_replica_and_what_has_changed() -> None:
    watched = Watched().go(60)
    watched.queue["a"] = 500.0
    watched.go(0.5)
    entry = history_view("m", "a", watched.told(), watched.now, 0.0)["entries"][-1]
    assert entry["changes"][-1].startswith('step "overload" began: Overloaded: ')
    overload = next(step for step in entry["steps"] if step["name"] == "overload")
    assert overload["factor"] < 1
    assert any(f"×{overload['factor']:.2f}" in said for said in entry["why"])
    assert entry["readings"]["p99_ms"] > 0
    assert entry["readings"]["memory"][0]["fraction"] == 0.5
    assert (entry["scrape"]["failure"], entry["state"]) == (None, "ready")


async def test_since_is_how_far_it_goes_back(api: Served) -> None:
    assert [entry["state"] for entry in (await api.ask("GET", PATH)).body["entries"]] == [
        "starting",
        "ready",
    ]
    api.now += 60
    assert (await api.ask("GET", f"{PATH}?since=59s")).body["entries"] == []
    assert len((await api.ask("GET", f"{PATH}?since=2m")).body["entries"]) == 2
    api.now += 3_400
    assert len((await api.ask("GET", PATH)).body["entries"]) == 2


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/v1/pools/x/replicas/a/history", 404, "no pool 'x'"),
        ("/v1/pools/m/replicas/x/history", 404, "no replica 'x'"),
        (f"{PATH}?since=10", 400, "'since': '10' is not a duration: write a number and a unit"),
        (f"{PATH}?since=", 400, "'since': '' is not a duration: write a number and a unit"),
        (f"{PATH}?since=1m&since=2m", 400, "'since': stands twice"),
        (f"{PATH}?until=1m", 400, "'until': unknown parameter; known here: since"),
    ],
)
async def test_what_cannot_be_answered_is_one_sentence(
    api: Served, path: str, status: int, said: str
) -> None:
    answer = await api.ask("GET", path)
    assert answer.status == status
    assert said in answer.detail


async def test_a_replica_without_a_decision_has_an_empty_history() -> None:
    assert history_view("m", "a", (), 0.0, 0.0)["entries"] == []
