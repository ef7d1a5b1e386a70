"""The real replica and relay of the benchmark of faults, and a whole run without a proxy."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Contender, Running
from benchmarks.balance.wire import PATH
from benchmarks.failover.measures import Cost
from benchmarks.failover.run import run
from benchmarks.failover.scenarios import POISON, Act, Scenario
from controlplane.config import Address
from tests.processes import DEADLINE, free_port, process, until

BODY = b"x" * 443
"""A hundred tokens."""


@asynccontextmanager
async def replica(
    folder: Path,
) -> AsyncIterator[tuple[aiohttp.ClientSession, str, asyncio.subprocess.Process]]:
    """One, a session that keeps one connection, and where it is."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-m", "benchmarks.failover.replica", "--port", str(port))
    options = ("--number", "3", "--slots", "2", "--token-seconds", "0.0001")
    async with (
        process(*command, *options, log=folder / "log") as started,
        aiohttp.ClientSession(trust_env=False, connector=aiohttp.TCPConnector(limit=1)) as session,
    ):

        async def answers() -> bool:
            try:
                async with session.get(f"{url}/health") as response:
                    return response.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await until("the replica answers", answers)
        yield session, url, started


async def asked(session: aiohttp.ClientSession, url: str, count: int) -> list[int | str]:
    """The status of each of some requests, or what was raised."""
    found: list[int | str] = []
    for _ in range(count):
        try:
            # What is no GET is not tried again by itself on a connection that has ended.
            async with session.post(f"{url}{PATH}", data=BODY) as response:
                await response.read()
                found.append(response.status)
        except aiohttp.ClientError as error:
            found.append(type(error).__name__)
    return found


@pytest.mark.parametrize(
    ("mode", "answers"),
    [
        ("well", [200, 200, 200, 200]),
        ("status-429", [429, 429, 429, 429]),
        ("status-500", [500, 500, 500, 500]),
        ("status-503", [503, 503, 503, 503]),
        ("half-500", [500, 200, 500, 200]),
        ("cuts", ["ClientPayloadError"] * 4),
    ],
)
async def test_a_replica_answers_as_it_is_told_to_and_counts(
    tmp_path: Path, mode: str, answers: list[int | str]
) -> None:
    async with replica(tmp_path) as (session, url, _):
        async with session.post(f"{url}/mode/{mode}") as response:
            assert response.status == 200
        assert await asked(session, url, 4) == answers
        async with session.get(f"{url}/health") as response:
            assert response.status == 200
        async with session.get(f"{url}/state") as response:
            assert await response.json(content_type=None) == {"reached": 4}


async def test_a_replica_can_reset_what_is_used_again(tmp_path: Path) -> None:
    async with replica(tmp_path) as (session, url, _):
        async with session.post(f"{url}/mode/resets") as response:
            await response.read()
        found = await asked(session, url, 4)
    assert found[::2] == [200, 200]
    assert all(isinstance(each, str) for each in found[1::2])


async def test_a_replica_dies_of_poison_and_of_nothing_else(tmp_path: Path) -> None:
    async with replica(tmp_path) as (session, url, started):
        assert await asked(session, url, 1) == [200]
        with pytest.raises(aiohttp.ClientError):
            await session.post(f"{url}{PATH}", data=b"x" * (43 + 4 * POISON))
        assert await started.wait() == -signal.SIGKILL


async def test_a_replica_that_is_asked_to_end_answers_what_it_has_begun_and_closes_what_is_idle(
    tmp_path: Path,
) -> None:
    async with replica(tmp_path) as (session, url, started):
        # A second of work.
        begun = asyncio.create_task(session.post(f"{url}{PATH}", data=b"x" * (43 + 4 * 10_000)))

        async def is_taken() -> bool:
            async with aiohttp.ClientSession() as other, other.get(f"{url}/state") as response:
                return "1" in await response.text()

        await until("the request is taken", is_taken)
        idle, its = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        its.write(b"GET /health HTTP/1.1\r\n\r\n")
        assert await idle.readline() == b"HTTP/1.1 200 OK\r\n"
        started.terminate()
        async with asyncio.timeout(DEADLINE):
            await idle.read()
        its.close()
        response = await begun
        assert response.status == 200
        assert response.headers["connection"] == "close"
        response.close()
        assert await started.wait() == 0


@asynccontextmanager
async def nothing_between(
    folder: Path, cell: Cell, replicas: Sequence[Address]
) -> AsyncIterator[Running]:
    """Requests go to replicas themselves, in turn."""
    yield Running([address.port for address in replicas], {})


async def played(folder: Path, *acts: Act) -> Cost:
    scenario = Scenario("short", "short", acts, seconds=1.5, replicas=2, load=0.3)

    async def agreed() -> None:
        """There is nobody else."""

    contender = Contender("nothing", "nothing", nothing_between, "", "nothing")
    return await run(contender, scenario, 1, folder, agreed)


async def test_a_replica_that_is_killed_loses_its_requests_where_nothing_is_between(
    tmp_path: Path,
) -> None:
    found = await played(tmp_path, Act(0, "kill", (0,)))
    # Of some ninety requests after the fault half are its.
    assert 20 < found.failed < 70
    assert (found.before, found.died, found.lasting) == (0, 0, True)


async def test_what_reaches_replicas_is_counted_where_all_are_told_to_fail(tmp_path: Path) -> None:
    found = await played(tmp_path, Act(0, "status-503", (0, 1)))
    # Telling them takes a moment, in which requests come.
    assert found.reached == pytest.approx(1.0, abs=0.4)
    assert found.failed > 20


async def test_a_network_that_is_cut_and_healed_delays_and_loses_nothing(tmp_path: Path) -> None:
    found = await played(tmp_path, Act(0, "cut", (0,)), Act(1.2, "heal", (0,)))
    assert found.failed == 0
    assert found.slow > 5
