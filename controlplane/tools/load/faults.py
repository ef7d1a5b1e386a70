"""Why a request came to nothing, in few words: there are as many kinds as there are reasons."""

import asyncio
import os
from typing import Final

import aiohttp

RAISED: Final = (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError)
"""What sending a request raises when it comes to nothing."""


def kind(error: BaseException) -> tuple[str, bool]:
    """Name the reason, and say whether there was a connection."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return "no connection in time", False
        case aiohttp.ClientConnectorDNSError():
            return "host not found", False
        case aiohttp.ClientConnectorError():
            return _said(error.os_error), False
        case TimeoutError():
            return "no answer in time", True
        case aiohttp.ServerDisconnectedError():
            return "disconnected without an answer", True
        case aiohttp.ClientPayloadError():
            return "answer cut off", True
        case OSError():
            return _said(error), True
    return type(error).__name__, True


def status(code: int) -> str | None:
    """What is wrong with an answer's status; nothing with 200 to 299."""
    return None if 200 <= code < 300 else f"status {code}"


def _said(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else type(error).__name__
