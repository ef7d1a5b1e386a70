"""Children: one that dies is named, and none outlives us, whatever ends us."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controlplane.tools.demo.processes import ChildDiedError, Processes
from tests.processes import DEADLINE

SLEEP = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    " print('here', flush=True); time.sleep(60)",
]


def is_there(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def has_spoken(log: Path) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await asyncio.to_thread(lambda: "here" in log.read_text()):
            await asyncio.sleep(0.01)


async def test_leaving_ends_every_child(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        children = [await processes.start(name, SLEEP) for name in ("one", "two")]
        assert all(is_there(child.process.pid) for child in children)
    assert not any(is_there(child.process.pid) for child in children)
    assert {child.process.returncode for child in children} == {-signal.SIGTERM}


async def test_a_child_that_will_not_end_is_killed_after_the_grace(tmp_path: Path) -> None:
    async with Processes(tmp_path, grace=0.2) as processes:
        child = await processes.start("stubborn", STUBBORN)
        await has_spoken(child.log)
    assert child.process.returncode == -signal.SIGKILL


async def test_a_child_that_dies_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        await processes.start("well", SLEEP)
        await processes.start("replica x", [sys.executable, "-c", "raise SystemExit('no model')"])
        with pytest.raises(ChildDiedError, match=r"^replica x ended with exit code 1;(?s:.*)no mo"):
            await processes.watch()


async def test_a_child_that_is_killed_is_said_to_be(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        child = await processes.start("envoy", SLEEP)
        child.process.kill()
        with pytest.raises(ChildDiedError, match="envoy ended by signal 9"):
            await processes.watch()


async def test_ending_children_ourselves_is_no_death(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        await processes.start("one", SLEEP)
        watching = asyncio.create_task(processes.watch())
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await watching


def test_a_child_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from controlplane.tools.demo.processes import Processes\n"
        "async def main():\n"
        f"    processes = Processes(pathlib.Path({str(tmp_path)!r}))\n"
        f"    child = await processes.start('child', {STUBBORN!r})\n"
        "    print(child.process.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_there(child)
        os.kill(parent.pid, signal.SIGKILL)
    until = time.monotonic() + DEADLINE / 4  # and it sleeps for all of it
    while is_there(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_there(child)


async def test_a_ctrl_c_at_the_terminal_does_not_reach_the_children(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        child = await processes.start("one", SLEEP)
        assert os.getpgid(child.process.pid) != os.getpgid(0)
