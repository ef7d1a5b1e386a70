"""The real generator against the real process of replicas, without a proxy between."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from benchmarks.balance.wire import ORCA, PATH, SERVED_BY, STATE
from benchmarks.generator import Outcome, generating
from benchmarks.worlds.scenarios import SCENARIOS
from benchmarks.worlds.traffic import arrivals
from tests.processes import free_port, process, until


async def sent(
    folder: Path, scenario: str, slowness: float = 0.1, ports: int = 2, most: int = 1000
) -> Outcome:
    """Send a second of load at 100 requests/s to some of the replicas themselves."""
    numbers = [free_port() for _ in range(ports)]
    options = ("--ports", ",".join(map(str, numbers)), "--scenario", scenario)
    command = (sys.executable, "-m", "benchmarks.balance.replicas", *options)
    schedule = list(arrivals(SCENARIOS[scenario].traffic, 1, 100.0, 1.0))
    async with (
        process(*command, "--slowness", str(slowness), log=folder / "replicas.log"),
        aiohttp.ClientSession(trust_env=False) as session,
    ):
        await until("replicas answer", lambda: answers(session, numbers[-1]))
        async with generating(numbers, schedule, 1.0, most, folder) as generator:
            generator.begin()
            outcome = await generator.outcome()
    assert len(outcome.requests) <= len(schedule)
    return outcome


async def answers(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


async def test_requests_are_dealt_in_turn_and_answered(tmp_path: Path) -> None:
    outcome = await sent(tmp_path, "equal-80")
    assert len(outcome.requests) > 50
    assert [request.replica for request in outcome.requests[:4]] == [0, 1, 0, 1]
    assert all(request.latency is not None and request.latency > 0 for request in outcome.requests)


async def test_a_request_is_told_with_its_class_and_with_what_it_asked_for(tmp_path: Path) -> None:
    outcome = await sent(tmp_path, "classes-70")
    assert {(request.kind, request.tokens) for request in outcome.requests} == {
        ("search", 16),
        ("bulk", 2000),
    }
    assert {request.status for request in outcome.requests} == {200}


async def test_a_replica_without_a_model_answers_nothing_else(tmp_path: Path) -> None:
    outcome = await sent(tmp_path, "cold-80", ports=8)
    assert {request.replica for request in outcome.requests} == {0, 1, 2, 3, 4, 5, 6, None}
    assert {request.status for request in outcome.requests if request.replica is None} == {503}


async def test_a_run_with_too_many_unanswered_is_cut(tmp_path: Path) -> None:
    outcome = await sent(tmp_path, "equal-80", slowness=10_000, most=20)
    assert outcome.cut_at is not None
    assert sum(request.latency is None for request in outcome.requests) == 20


@pytest.fixture
async def replica(tmp_path: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A replica that batches, and where it is."""
    port = free_port()
    options = ("--ports", str(port), "--scenario", "classes-70")
    async with (
        process(
            sys.executable, "-m", "benchmarks.balance.replicas", *options, log=tmp_path / "log"
        ),
        aiohttp.ClientSession(trust_env=False) as session,
    ):
        await until("the replica answers", lambda: answers(session, port))
        yield session, f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("header", [SERVED_BY, ORCA])
async def test_an_answer_says_who_gave_it_and_how_busy_that_one_is(
    replica: tuple[aiohttp.ClientSession, str], header: str
) -> None:
    session, url = replica

    async def is_there() -> bool:
        async with session.post(f"{url}{PATH}", json={"input": ["abcd"]}) as response:
            return header in response.headers

    await until(f"answers have {header}", is_there)


async def test_a_replica_says_what_it_did_and_speaks_its_servers_metrics(
    replica: tuple[aiohttp.ClientSession, str],
) -> None:
    session, url = replica
    async with session.post(f"{url}{PATH}", json={"input": ["abcd" * 5, "abcd" * 7]}) as response:
        assert response.status == 200
    async with session.get(f"{url}{STATE}") as response:
        state = json.loads(await response.text())
    async with session.get(f"{url}/metrics") as response:
        metrics = await response.text()
    assert state["tokens"] == 12
    assert state["busy"] > 0
    assert "te_batch_next_tokens_sum 12" in metrics


async def test_a_path_that_no_server_has_is_not_found(
    replica: tuple[aiohttp.ClientSession, str],
) -> None:
    session, url = replica
    async with session.get(f"{url}/get_load") as response:
        assert response.status == 404
