"""Ports for what a run starts."""

import socket
from contextlib import ExitStack
from itertools import count
from typing import Final

FIRST: Final = 21_000
"""Below the ports that the kernel gives to outgoing connections (32,768 on, by default): one of
those could take a port between our look at it and its listener."""


def free_ports(wanted: int) -> list[int]:
    """So many different ports on loopback that nobody listens on."""
    found: list[int] = []
    with ExitStack() as probes:
        for port in count(FIRST):
            if len(found) == wanted:
                break
            probe = probes.enter_context(socket.socket())
            # As servers do; without it, ports of the run before would seem taken for a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                probe.listen()
            except OSError:
                continue
            found.append(port)
    return found
