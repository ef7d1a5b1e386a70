"""One scrape: the text that an address answers a GET with, within a deadline and a size."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from controlplane.settings import Address

MAX_BYTES: Final = 4 << 20
"""Of an exposition; a longer one is a failed scrape."""

MAX_DEADLINE: Final = 10.0
"""Seconds; the deadline of a scrape is its interval, and never more than this."""

# No redirects: an address is a host and a port that somebody registered, not a place to be sent
# on from. No compression: nothing that is small on the wire can be large in memory.
_HEADERS: Final = {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"}


class ScrapeError(Exception):
    """A scrape that yielded no text; the message is one sentence that says why.

    Attributes:
        refused: Whether nobody listened at the address.
    """

    def __init__(self, sentence: str, *, refused: bool = False) -> None:
        self.refused = refused
        super().__init__(sentence)


@asynccontextmanager
async def scraping_session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session for scrapes of any number of addresses."""
    connector = aiohttp.TCPConnector(limit=0, force_close=False)
    async with aiohttp.ClientSession(
        connector=connector, headers=_HEADERS, trust_env=False, auto_decompress=False
    ) as session:
        yield session


async def scrape(
    session: aiohttp.ClientSession,
    address: Address,
    path: str,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[str, float]:
    """Ask for an exposition.

    Args:
        session: Of `scraping_session`.
        address: Where it is served.
        path: Of the request.
        deadline: Seconds for all of it.
        clock: Seconds that never go back.

    Returns:
        The text, and when its first byte came.

    Raises:
        ScrapeError: Whatever went wrong.
    """
    where = f"GET {path} on {address}"
    timeout = aiohttp.ClientTimeout(total=deadline)
    try:
        async with session.get(
            f"http://{address}{path}", allow_redirects=False, timeout=timeout
        ) as response:
            if response.status != 200:
                raise ScrapeError(f"{where} answers {response.status}, not 200")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise ScrapeError(f"{where} answers compressed, which was not asked for")
            at = clock()
            body = await _body(response)
    except TimeoutError:
        raise ScrapeError(f"{where} took longer than {deadline:g} s") from None
    except aiohttp.ClientConnectorError as error:
        refused = is_refused(error)
        why = "nobody listens" if refused else error.os_error.strerror or "cannot connect"
        raise ScrapeError(f"{where}: {why}", refused=refused) from None
    except aiohttp.ClientError as error:
        raise ScrapeError(f"{where}: {type(error).__name__}: {str(error)[:200]}") from None
    if body is None:
        raise ScrapeError(f"{where} is longer than {MAX_BYTES >> 20} MiB")
    try:
        return body.decode("utf-8"), at
    except UnicodeDecodeError:
        raise ScrapeError(f"{where} is not UTF-8 text") from None


def is_refused(error: aiohttp.ClientConnectorError) -> bool:
    """Whether nobody listened."""
    return isinstance(error.os_error, ConnectionRefusedError)


async def _body(response: aiohttp.ClientResponse) -> bytes | None:
    """The body, or None when it is longer than `MAX_BYTES`."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BYTES:
            response.close()
            return None
    return bytes(body)
