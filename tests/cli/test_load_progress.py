"""The progress bar of ``plimsoll load`` on a real terminal, and that there is none elsewhere."""

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.load.servers import Counting, server
from tests.processes import DEADLINE

_COLUMNS = 80
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """What a command wrote to its terminal."""

    def __init__(self, descriptor: int) -> None:
        self.text = ""
        self.changed = asyncio.Event()
        self._descriptor = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            self.text += os.read(self._descriptor, 65536).decode(errors="replace")
        except OSError:
            # Linux says so when nobody has the terminal open any more.
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self.changed.set()

    async def says(self, pattern: str) -> None:
        while not re.search(pattern, self.text):
            self.changed.clear()
            await self.changed.wait()

    def drawn(self) -> list[str]:
        """Every state of the line, without colours."""
        return [_CONTROL.sub("", it).strip() for it in re.split(r"[\r\n]+", self.text)]


@asynccontextmanager
async def load(*options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Terminal]]:
    """Run it with a terminal of 80 columns for standard error."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, _COLUMNS, 0, 0))
    async with server(Counting()) as url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controlplane", "load", url, "--model", "m", *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm", "NO_COLOR": ""},
        )
        os.close(theirs)
        terminal = Terminal(ours)
        try:
            async with asyncio.timeout(DEADLINE):
                yield process, terminal
        finally:
            asyncio.get_running_loop().remove_reader(ours)
            os.close(ours)
            if process.returncode is None:
                process.kill()
                await process.wait()


def bars(terminal: Terminal) -> list[str]:
    return [line for line in terminal.drawn() if "━" in line]


async def test_a_terminal_shows_how_far_it_is_on_one_line_that_is_gone_at_the_end() -> None:
    async with load("--rate", "40", "--duration", "2s", "--warmup", "0s", "--json") as (it, shown):
        out, _ = await it.communicate()
        await shown.says(r"\x1b\[\?25h")
    assert it.returncode == 0
    assert out.startswith(b"{")
    lines = bars(shown)
    told = [re.search(r"40/s, (\d+) sent, \d+ in flight, p99 [\d.]+ ms", line) for line in lines]
    sent = [int(match[1]) for match in told if match]
    assert len(sent) > 3
    assert sent == sorted(sent)
    assert sent[-1] > sent[0]
    assert max(map(len, lines)) <= _COLUMNS
    # The cursor is shown again, one line up, and that line is erased.
    assert shown.text.endswith("\x1b[?25h\r\x1b[1A\x1b[2K")


async def test_after_ctrl_c_the_terminal_is_as_it_was() -> None:
    async with load("--rate", "40", "--duration", "60s", "--warmup", "0s") as (it, shown):
        await shown.says(r"[1-9]\d* sent")
        it.send_signal(signal.SIGINT)
        out, _ = await it.communicate()
        await shown.says(r"\x1b\[\?25h")
    assert it.returncode == 130
    assert b"stopped before its end" in out
    assert shown.text.index("\x1b[?25l") < shown.text.index("\x1b[?25h")


async def test_an_error_stands_on_a_line_of_its_own_after_the_bar() -> None:
    options = ("--rate", "5", "--envoy-admin", "http://127.0.0.1:9", "--pool", "m")
    async with load(*options) as (it, shown):
        await it.wait()
        await shown.says("no Envoy's admin interface answers")
    assert it.returncode == 1
    assert any(
        line.startswith("plimsoll: --envoy-admin: no Envoy's admin") for line in shown.drawn()
    )
    assert "\x1b[?25h" in shown.text
