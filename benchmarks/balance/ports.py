"""Ports for what runs start."""

import contextlib
import os
import socket
from itertools import cycle, islice
from typing import Final

FIRST: Final = 10_000
LAST: Final = 32_000
"""Below the ports that the kernel gives to outgoing connections (32,768 on, by default): one of
those could take a port between our look at it and its listener."""

# Runs go side by side, so none is told a port that another was told a moment ago.
_NEXT: Final = islice(cycle(range(FIRST, LAST)), os.getpid() * 97 % (LAST - FIRST), None)


def free_ports(wanted: int) -> list[int]:
    """So many different ports on loopback that nobody listens on."""
    found: list[int] = []
    for port in _NEXT:
        if len(found) == wanted:
            break
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As servers do; without it, ports of the run before would seem taken for a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            probe.listen()
            found.append(port)
    return found
