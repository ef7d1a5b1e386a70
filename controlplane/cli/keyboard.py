"""Single keys of a terminal while something is shown on it."""

import asyncio
import os
import re
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_KEY: Final = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])|.", re.DOTALL)

_NAMES: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\b": "backspace",
}


@contextmanager
def keys(pressed: Callable[[str], None]) -> Iterator[None]:
    """Tell of each key, without an Enter and without showing it; the terminal is then as before.

    Does nothing where standard input is no terminal. Ctrl-C stays what it is.

    Args:
        pressed: Is told, in the running event loop: a character, or the name of a key such as
            ``up``, ``page down``, ``escape`` or ``enter``.
    """
    if not sys.stdin.isatty():
        yield
        return
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def read() -> None:
        data = os.read(descriptor, 64)
        if not data:
            loop.remove_reader(descriptor)
        for key in named(data.decode("utf-8", "replace")):
            pressed(key)

    tty.setcbreak(descriptor, termios.TCSADRAIN)
    loop.add_reader(descriptor, read)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def named(text: str) -> list[str]:
    """The keys in what a terminal has sent; an arrow as applications see it is the same arrow."""
    found = [each.replace("\x1bO", "\x1b[") for each in _KEY.findall(text)]
    return [_NAMES.get(each, each) for each in found]
