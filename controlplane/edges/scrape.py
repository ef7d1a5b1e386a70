"""One scrape: the text that an address answers a GET with, within a deadline and a size."""

import asyncio
from typing import Final

from controlplane.edges.http_client import Session
from controlplane.edges.http_response import AnswerError
from controlplane.settings import Address

MAX_BYTES: Final = 4 << 20
"""Of an exposition; a longer one is a failed scrape."""

MAX_DEADLINE: Final = 10.0
"""Seconds; the deadline of a scrape is its interval, and never more than this."""


class ScrapeError(Exception):
    """A scrape that yielded no text; the message is one sentence that says why.

    Attributes:
        refused: Whether nobody listened at the address.
    """

    def __init__(self, sentence: str, *, refused: bool = False) -> None:
        self.refused = refused
        super().__init__(sentence)


async def scrape(
    session: Session, address: Address, path: str, deadline: float
) -> tuple[str, float]:
    """Ask for an exposition.

    Args:
        session: Keeps the connection.
        address: Where it is served.
        path: Of the request.
        deadline: Seconds for all of it.

    Returns:
        The text, and when its first byte came, by the session's clock.

    Raises:
        ScrapeError: Whatever went wrong.
    """
    try:
        async with asyncio.timeout(deadline):
            response, at = await session.get(address, path, MAX_BYTES)
    except TimeoutError:
        why, refused = f" took longer than {deadline:g} s", False
    except AnswerError as error:
        why, refused = f": {error}", False
    except OSError as error:
        refused = isinstance(error, ConnectionRefusedError)
        why = ": nobody listens" if refused else f": {error.strerror or 'cannot connect'}"
    else:
        if response.status != 200:
            why, refused = f" answers {response.status}, not 200", False
        elif response.headers.get("content-encoding", "identity") != "identity":
            why, refused = " answers compressed, which was not asked for", False
        else:
            try:
                return response.body.decode("utf-8"), at
            except UnicodeDecodeError:
                why, refused = " is not UTF-8 text", False
    raise ScrapeError(f"GET {path} on {address}{why}", refused=refused)
