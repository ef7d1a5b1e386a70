"""Say why an address cannot be served on, before a library says so in words of its own."""

import asyncio
import errno
import os
import socket
from typing import Any

from controlplane.config import Address


class BindError(OSError):
    """The address to serve on cannot be had."""


async def check_bindable(what: str, address: Address) -> None:
    """Bind an address for a moment.

    gRPC writes several lines to standard error where it cannot bind, and asyncio from Python 3.13
    on drops the error number.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError:
        raise BindError(f"cannot serve {what} on {address}: its name cannot be looked up") from None
    refusals = [error for each in found if (error := _refusal(*each)) is not None]
    # A name may have addresses of a family that this machine lacks; one that can be had will do.
    if len(refusals) == len(found) or errno.EADDRINUSE in refusals:
        reason = os.strerror(refusals[0]).lower()
        raise BindError(f"cannot serve {what} on {address}: {reason}")


def _refusal(family: int, kind: int, protocol: int, _name: str, place: Any) -> int | None:
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        return error.errno or 0
    return None
