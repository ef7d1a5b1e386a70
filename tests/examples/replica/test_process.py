"""The replica as a process: how it starts, what it says, and how it leaves."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession

from tests.processes import DEADLINE

FOLDER = Path(__file__).parents[3] / "examples" / "replica"
ASK = {"model": "all-MiniLM-L6-v2", "input": "a load line"}


@dataclass
class Replica:
    process: asyncio.subprocess.Process
    http: ClientSession
    url: str

    async def line(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.readline()).decode()

    async def health(self) -> int:
        async with self.http.get(f"{self.url}/health") as answer:
            return answer.status

    async def embed(self) -> int:
        async with self.http.post(f"{self.url}/v1/embeddings", json=ASK) as answer:
            return answer.status

    async def shows(self, sample: str) -> None:
        """Wait until the metrics have this line."""
        async with asyncio.timeout(DEADLINE):
            while sample not in await self.metrics():
                pass

    async def metrics(self) -> list[str]:
        async with self.http.get(f"{self.url}/metrics") as answer:
            return (await answer.text()).splitlines()

    async def exit_code(self) -> int:
        async with asyncio.timeout(DEADLINE):
            return await self.process.wait()


def stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()


Launch = Callable[..., Awaitable[Replica]]


@pytest.fixture
async def launch() -> AsyncIterator[Launch]:
    async with AsyncExitStack() as stack:

        async def launched(*flags: str, folder: Path = FOLDER) -> Replica:
            argv = [str(folder), "--port", "0", *flags]
            process = await asyncio.create_subprocess_exec(
                sys.executable, *argv, stderr=asyncio.subprocess.PIPE
            )
            stack.push_async_callback(process.wait)
            stack.callback(stop, process)
            replica = Replica(process, await stack.enter_async_context(ClientSession()), "")
            found = re.search(r"listening on (http://\S+),", first := await replica.line())
            assert found, first
            replica.url = found[1]
            return replica

        yield launched


async def test_a_copy_of_the_folder_runs_anywhere_and_stops_when_told(
    launch: Launch, tmp_path: Path
) -> None:
    replica = await launch(folder=shutil.copytree(FOLDER, tmp_path / "copy"))
    assert "ready after" in await replica.line()
    assert await replica.health() == 200
    assert await replica.embed() == 200
    replica.process.send_signal(signal.SIGTERM)
    assert await replica.exit_code() == 0


async def test_the_port_is_open_while_the_model_loads(launch: Launch) -> None:
    replica = await launch("--load-seconds", "60")
    assert await replica.health() == 503
    assert await replica.embed() == 503
    replica.process.send_signal(signal.SIGTERM)
    assert await replica.exit_code() == 0


async def test_sigterm_lets_a_request_in_flight_finish_and_turns_health_to_503(
    launch: Launch,
) -> None:
    replica = await launch("--speed", "0.02")
    await replica.line()
    request = asyncio.create_task(replica.embed())
    await replica.shows('te_request_count{method="single"} 1')
    replica.process.send_signal(signal.SIGTERM)
    while await replica.health() == 200:
        pass
    assert not request.done()
    assert await replica.health() == 503
    assert await request == 200
    assert await replica.exit_code() == 0


async def test_a_text_whose_client_goes_away_leaves_the_queue(launch: Launch) -> None:
    replica = await launch("--speed", "0.0001", "--max-batch-tokens", "1", "--grace", "0")
    await replica.line()
    requests = [asyncio.create_task(replica.embed()) for _ in range(2)]
    await replica.shows("te_queue_size 1.0")
    for request in requests:
        request.cancel()
    await replica.shows("te_queue_size 0.0")


async def test_what_is_not_done_when_the_grace_is_over_is_cut_off(launch: Launch) -> None:
    replica = await launch("--speed", "0.0001", "--grace", "0.1")
    await replica.line()
    request = asyncio.create_task(replica.embed())
    await replica.shows('te_request_count{method="single"} 1')
    replica.process.send_signal(signal.SIGTERM)
    assert await replica.exit_code() == 0
    with pytest.raises(ClientError):
        await request


async def test_a_port_in_use_is_named(launch: Launch) -> None:
    taken = (await launch("--load-seconds", "60")).url.rpartition(":")[2]
    second = await asyncio.create_subprocess_exec(
        sys.executable, str(FOLDER), "--port", taken, stderr=asyncio.subprocess.PIPE
    )
    _, said = await second.communicate()
    assert said.decode() == f"replica: port {taken} on 127.0.0.1 is already in use\n"
    assert second.returncode == 1


async def test_a_gpu_too_small_for_the_model_ends_the_process(launch: Launch) -> None:
    replica = await launch("--gpu-memory", "64MiB")
    assert "The model's weights take 90856960 bytes, the GPU has 67108864" in await replica.line()
    assert await replica.exit_code() == 1


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        # The number of BLAS threads is set between the two.
        ("embedding_replica.options", {"numpy"}),
        ("embedding_replica.process", {"torch", "transformers", "controlplane"}),
    ],
)
def test_what_must_not_be_imported_is_not(module: str, absent: set[str]) -> None:
    show = f"import sys, {module}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", show], cwd=FOLDER, capture_output=True, text=True)
    assert module in ran.stdout.split()
    assert not absent & set(ran.stdout.split())
