"""Commands as processes of their own that need not import anything first.

To import all of it takes seconds of a core, and most tests with real processes start it anew.
"""

import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path


class Forked:
    """A command that was started, as `asyncio.subprocess.Process` shows it.

    Attributes:
        pid: Of the process.
        returncode: Its exit code, negative for a signal; None while it runs.
    """

    def __init__(
        self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._reader, self._writer = reader, writer
        self._ended = asyncio.create_task(self._watch())

    @classmethod
    async def start(
        cls,
        output: Path | int,
        *arguments: str | Path,
        stdin: int | None = None,
        stderr: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> "Forked":
        """Call ``plimsoll`` with these arguments.

        Args:
            output: A file, or a descriptor, for what it writes.
            stdin: A descriptor that it reads from; by default there is nothing to read.
            stderr: A descriptor for its errors; by default they go to the output.
            env: Variables beside those of the tests.
        """
        path = await asyncio.to_thread(_nursery)
        order = {"arguments": [*map(str, arguments)], "env": {**(env or {})}}
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        with ExitStack() as files:
            if isinstance(output, Path):
                output = files.enter_context(output.open("wb")).fileno()
            if stdin is None:
                stdin = files.enter_context(tempfile.TemporaryFile()).fileno()
            given = [stdin, output, output if stderr is None else stderr]
            socket.send_fds(connection, [json.dumps(order).encode() + b"\n"], given)
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        return cls(int(await reader.readline()), reader, writer)

    async def wait(self) -> int:
        """Wait until it has ended; returns its exit code."""
        return await asyncio.shield(self._ended)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without asking."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    async def _watch(self) -> int:
        self.returncode = int(await self._reader.readline())
        self._writer.close()
        return self.returncode


@cache
def _nursery() -> str:
    """Start who forks them, once for each process with tests; returns where it listens."""
    folder = tempfile.TemporaryDirectory(prefix="plimsoll-nursery-")
    path = str(Path(folder.name) / "socket")
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.nursery", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdin is not None
    assert started.stdout is not None

    def end() -> None:
        started.communicate()
        folder.cleanup()

    atexit.register(end)
    assert started.stdout.readline() == "ready\n", "the nursery has not started"
    return path


_PROGRAM = """#!{python} -SE
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({path!r})
env = {{name: text for name, text in os.environ.items() if name.startswith("PLIMSOLL_")}}
order = {{"arguments": sys.argv[1:], "env": env, "cwd": os.getcwd()}}
socket.send_fds(connection, [json.dumps(order).encode() + b"\\n"], [0, 1, 2])
answer = connection.makefile()
answer.readline()
sys.exit(int(answer.readline()))
"""


def program(path: Path) -> None:
    """Write a program for shells that calls ``plimsoll`` as `Forked.start` does."""
    path.write_text(_PROGRAM.format(python=sys.executable, path=_nursery()))
    path.chmod(0o700)
