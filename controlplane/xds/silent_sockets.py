"""Connections over which nothing has come: found among the files of this process, and ended.

gRPC accepts connections itself. One that says nothing keeps its place until the timeout of the
handshake, which must be long enough for TLS on a busy machine. A flood of them would fill all.
"""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

_FILES: Final = "/proc/self/fd"

_INFO: Final = struct.Struct("=B51xI72xQ")
"""Fields of ``struct tcp_info``: the state, milliseconds since the last data, bytes received."""

_ESTABLISHED: Final = 1


def end_silent(port: int, most: int, seconds: float) -> int:
    """End the connections over which nothing has come, if there are too many connections.

    Only Linux says what has come: elsewhere nothing happens.

    Args:
        port: Of this process, which they lead to.
        most: Connections to the port up to which none is ended.
        seconds: That a connection has to say something.

    Returns:
        How many were ended.
    """
    try:
        files = [int(name) for name in os.listdir(_FILES)]
    except OSError:
        return 0
    # Few files are few connections, and then nothing more is looked at.
    if len(files) <= most or sum(1 for _ in _connections(port, files)) <= most:
        return 0
    ended = 0
    for connection in _connections(port, files):
        _, since, received = _info(connection)
        if not received and since > 1000 * seconds:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
                ended += 1
    return ended


def _connections(port: int, files: list[int]) -> Iterator[socket.socket]:
    """Yield the connections to the port among open files; each stays open until the next one."""
    for file in files:
        try:
            # A copy: no other file can take its number meanwhile.
            copy = os.dup(file)
        except OSError:
            continue
        try:
            found = socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
            continue
        with found:
            if (
                found.family in {socket.AF_INET, socket.AF_INET6}
                and found.type == socket.SOCK_STREAM
                and found.getsockname()[1] == port
                and _info(found)[0] == _ESTABLISHED
            ):
                yield found


def _info(connection: socket.socket) -> tuple[int, int, int]:
    found: tuple[int, int, int] = _INFO.unpack(
        connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    )
    return found
