"""Signals to ``plimsoll serve``, whoever reads its log, and whatever else does not answer."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.processes import DEADLINE, command, free_port, process, until


def config(path: Path, admin: int, *replicas: int) -> None:
    data = {
        "admin": {"address": f"127.0.0.1:{admin}"},
        "xds": {"address": "127.0.0.1:0"},
        "pools": [
            {
                "name": "p",
                "model": "m",
                "listener": {"address": "127.0.0.1:10000"},
                "replicas": [{"id": f"r{n}", "address": f"127.0.0.1:{n}"} for n in replicas],
            }
        ],
    }
    path.write_text(yaml.safe_dump(data))


@pytest.mark.parametrize("stderr", ["a pipe that nobody reads", "a pipe whose reader left", "none"])
async def test_it_answers_reads_its_config_at_sighup_and_ends_at_sigterm(
    tmp_path: Path, stderr: str
) -> None:
    admin, path = free_port(), tmp_path / "plimsoll.yaml"
    config(path, admin, 1, 2)
    read_end, write_end = os.pipe()
    if stderr == "a pipe that nobody reads":
        os.set_blocking(write_end, False)
        while True:
            try:
                os.write(write_end, bytes(1 << 16))
            except BlockingIOError:
                break
        os.set_blocking(write_end, True)
    serve, log = ("serve", "--config", path), tmp_path / "log"
    if stderr == "none":
        program = ("sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "controlplane")
        running: AbstractAsyncContextManager[Any] = process(*program, *serve, log=log)
    else:
        running = command(log, *serve, stderr=write_end)
    async with running as started:
        os.close(write_end)
        if stderr == "a pipe whose reader left":
            os.close(read_end)
        async with aiohttp.ClientSession(trust_env=False) as session:

            async def replicas() -> Any:
                assert started.returncode is None
                url = f"http://127.0.0.1:{admin}/v1/pools/p"
                try:
                    async with session.get(url) as response:
                        return len((await response.json())["replicas"])
                except aiohttp.ClientConnectionError:
                    return 0

            async def has(count: int) -> bool:
                return bool(await replicas() == count)

            await until("it serves", lambda: has(2))
            config(path, admin, 1, 2, 3)
            started.send_signal(signal.SIGHUP)
            await until("it has read its config", lambda: has(3))
        started.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            assert await started.wait() == 0
    if stderr != "a pipe whose reader left":
        os.close(read_end)


BUSY = """
import asyncio, os, signal, sys, time
from contextlib import asynccontextmanager
from types import SimpleNamespace
from controlplane.cli import serve
from controlplane.cli.group import plimsoll

@asynccontextmanager
async def running(config, path):
    loop = asyncio.get_running_loop()
    loop.run_in_executor(None, time.sleep, 1000)
    loop.call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
    yield SimpleNamespace(admin="", xds="", reread=lambda: None)

serve.running, serve.STOPPED = running, 1000
plimsoll(["serve", "--config", sys.argv[1]])
"""


def test_at_sigterm_no_thread_is_waited_for_that_still_computes(tmp_path: Path) -> None:
    path = tmp_path / "plimsoll.yaml"
    config(path, 1, 1)
    started = subprocess.Popen([sys.executable, "-c", BUSY, str(path)], stderr=subprocess.DEVNULL)
    try:
        assert started.wait(DEADLINE) == 0
    finally:
        started.kill()
        started.wait()
