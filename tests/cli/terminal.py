"""Pseudo-terminals for commands: what they draw, and keys that somebody presses."""

import asyncio
import fcntl
import os
import pty
import re
import struct
import termios

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def terminal_of(rows: int, columns: int) -> tuple[int, int]:
    """Our end of a new terminal, and that of a command."""
    ours, theirs = pty.openpty()
    resize(theirs, rows, columns)
    return ours, theirs


def resize(descriptor: int, rows: int, columns: int) -> None:
    """As when somebody draws a window larger."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


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
        return [_CONTROL.sub("", item).strip() for item in re.split(r"[\r\n]+", self.text)]

    def plain(self) -> str:
        """All that was written, without colours and movements."""
        return _CONTROL.sub("", self.text)
