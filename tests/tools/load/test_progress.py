"""The progress bar of ``plimsoll load`` on a real terminal, and that there is none elsewhere."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.cli.terminal import Terminal, terminal_of
from tests.forked import Forked
from tests.processes import DEADLINE, command
from tests.tools.load.servers import Counting, server

_COLUMNS = 80


@asynccontextmanager
async def load(output: Path, *options: str) -> AsyncIterator[tuple[Forked, Terminal]]:
    """Run it with a terminal of 80 columns for standard error."""
    ours, theirs = terminal_of(24, _COLUMNS)
    env = {"TERM": "xterm", "NO_COLOR": "", "COLUMNS": "", "LINES": ""}
    async with server(Counting()) as url:
        arguments = ("load", url, "--model", "m", *options)
        async with command(output, *arguments, stderr=theirs, env=env) as process:
            os.close(theirs)
            terminal = Terminal(ours)
            try:
                async with asyncio.timeout(DEADLINE):
                    yield process, terminal
            finally:
                asyncio.get_running_loop().remove_reader(ours)
                os.close(ours)


def bars(terminal: Terminal) -> list[str]:
    return [line for line in terminal.drawn() if "━" in line]


async def test_a_terminal_shows_how_far_it_is_on_one_line_that_is_gone_at_the_end(
    tmp_path: Path,
) -> None:
    output = tmp_path / "output"
    options = ("--rate", "40", "--duration", "2s", "--warmup", "0s", "--json")
    async with load(output, *options) as (process, shown):
        assert await process.wait() == 0
        await shown.says(r"\x1b\[\?25h")
    assert output.read_text().startswith("{")
    lines = bars(shown)
    told = [re.search(r"40/s, (\d+) sent, \d+ in flight, p99 [\d.]+ ms", line) for line in lines]
    sent = [int(match[1]) for match in told if match]
    assert len(sent) > 3
    assert sent == sorted(sent)
    assert sent[-1] > sent[0]
    assert max(map(len, lines)) <= _COLUMNS
    # The cursor is shown again, one line up, and that line is erased.
    assert shown.text.endswith("\x1b[?25h\r\x1b[1A\x1b[2K")


async def test_after_ctrl_c_the_terminal_is_as_it_was(tmp_path: Path) -> None:
    output = tmp_path / "output"
    options = ("--rate", "40", "--duration", "60s", "--warmup", "0s")
    async with load(output, *options) as (process, shown):
        await shown.says(r"[1-9]\d* sent")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        await shown.says(r"\x1b\[\?25h")
    assert "stopped before its end" in output.read_text()
    assert shown.text.index("\x1b[?25l") < shown.text.index("\x1b[?25h")


async def test_an_error_stands_on_a_line_of_its_own_after_the_bar(tmp_path: Path) -> None:
    options = ("--rate", "5", "--envoy-admin", "http://127.0.0.1:9", "--pool", "m")
    async with load(tmp_path / "output", *options) as (process, shown):
        assert await process.wait() == 1
        await shown.says("no Envoy's admin interface answers")
    assert any(
        line.startswith("plimsoll: --envoy-admin: no Envoy's admin") for line in shown.drawn()
    )
    assert "\x1b[?25h" in shown.text
