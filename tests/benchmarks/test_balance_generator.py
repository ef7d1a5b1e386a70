"""The real generator against the real process of replicas, without a proxy between."""

import asyncio
import sys
from pathlib import Path

import aiohttp
import pytest
from pydantic import TypeAdapter

from benchmarks.balance.generator import BEGIN, OUTCOME, READY
from benchmarks.balance.outcome import Outcome, decode
from benchmarks.balance.scenario import Scenario
from benchmarks.balance.wire import ORCA, SERVED_BY
from tests.processes import free_port, process, until

SCENARIO = Scenario("two", 1, speeds=(1.0, 1.0), load=0.5, token_seconds=0.0001)


async def sent(folder: Path, scenario: Scenario, ports: list[int], most: int = 1000) -> Outcome:
    """Send a second of load at 100 requests/s to the replicas themselves."""
    listening = ",".join(map(str, ports))
    (folder / "scenario.json").write_bytes(TypeAdapter(Scenario).dump_json(scenario))
    module = (sys.executable, "-m", "benchmarks.balance.replicas", "--ports", listening)
    command = (*module, "--scenario", folder / "scenario.json")
    options = ("--seed", "1", "--rate", "100", "--seconds", "1", "--most", str(most))
    generator = (sys.executable, "-m", "benchmarks.balance.generator", "--ports", listening)
    async with (
        process(*command, log=folder / "replicas.log"),
        aiohttp.ClientSession(trust_env=False) as session,
    ):
        await until("replicas answer", lambda: answers(session, ports[-1]))
        async with process(
            *generator, *options, "--folder", folder, log=folder / "generator.log"
        ) as started:

            async def is_ready() -> bool:
                return (folder / READY).exists()

            await until("the generator is ready", is_ready)
            (folder / BEGIN).write_text(repr(asyncio.get_running_loop().time()))
            assert await started.wait() == 0, (folder / "generator.log").read_text()
    return decode((folder / OUTCOME).read_text())


async def answers(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


async def test_requests_are_dealt_in_turn_and_answered(tmp_path: Path) -> None:
    outcome = await sent(tmp_path, SCENARIO, [free_port(), free_port()])
    assert len(outcome.requests) > 50
    assert [it.replica for it in outcome.requests[:4]] == [0, 1, 0, 1]
    assert all(it.latency is not None and it.latency > 0 for it in outcome.requests)


async def test_a_replica_without_a_model_answers_nothing_else(tmp_path: Path) -> None:
    scenario = Scenario("cold", 1, (1.0, 1.0), 0.5, token_seconds=0.0001, joins=60)
    outcome = await sent(tmp_path, scenario, [free_port(), free_port()])
    assert {it.replica for it in outcome.requests} == {0, None}


async def test_a_run_with_too_many_unanswered_is_cut(tmp_path: Path) -> None:
    scenario = Scenario("slow", 1, (1.0, 1.0), 0.5, token_seconds=1)
    outcome = await sent(tmp_path, scenario, [free_port(), free_port()], most=20)
    assert outcome.cut_at is not None
    assert sum(it.latency is None for it in outcome.requests) == 20


@pytest.mark.parametrize("header", [SERVED_BY, ORCA])
async def test_an_answer_says_who_gave_it_and_how_busy_that_one_is(
    tmp_path: Path, header: str
) -> None:
    port = free_port()
    (tmp_path / "scenario.json").write_bytes(TypeAdapter(Scenario).dump_json(SCENARIO))
    command = (sys.executable, "-m", "benchmarks.balance.replicas", "--ports", str(port))
    async with (
        process(*command, "--scenario", tmp_path / "scenario.json", log=tmp_path / "log"),
        aiohttp.ClientSession(trust_env=False) as session,
    ):
        await until("the replica answers", lambda: answers(session, port))

        async def is_there() -> bool:
            async with session.post(f"http://127.0.0.1:{port}/embed", data=b"1") as response:
                return header in response.headers

        await until(f"answers have {header}", is_there)
