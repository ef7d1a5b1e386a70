"""One scrape: the text that an address answers a GET with, within a deadline and a size."""

import ssl
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from controlplane.config import Address
from controlplane.config.metrics import DEFAULT_BYTES
from controlplane.scraping.access import Access, AccessError
from controlplane.scraping.http_connection import (
    Answer,
    AnswerError,
    Receiver,
    TooLongError,
)
from controlplane.scraping.http_get import Getter
from controlplane.telemetry.layouts import shown

MAX_DEADLINE: Final = 10.0
"""Seconds; by default the deadline of a scrape is its interval, and never more than this."""

_WANT_CREDENTIALS: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_REDIRECTS: Final = range(300, 400)


class ScrapeError(Exception):
    """A scrape that yielded no text; the message is one sentence that says why.

    Attributes:
        refused: Whether nobody listened at the address.
    """

    def __init__(self, sentence: str, *, refused: bool = False) -> None:
        self.refused = refused
        super().__init__(sentence)


def receiver(clock: Callable[[], float] = time.monotonic) -> Receiver:
    """What all scrapes of one event loop share.

    Args:
        clock: Seconds that never go back.
    """
    return Receiver(clock, DEFAULT_BYTES)


async def scrape(
    getter: Getter,
    address: Address,
    path: str,
    deadline: float,
    *,
    most: int | None = None,
    access: Access | None = None,
    server_name: str | None = None,
) -> tuple[str, float]:
    """Ask for an exposition.

    An address is a host and a port that somebody registered, not a place to be sent on from: an
    answer that leads elsewhere is none.

    Args:
        getter: Keeps the connection.
        address: Where it is served.
        path: Of the request.
        deadline: Seconds for all of it.
        most: Bytes that it may have.
        access: With which credentials, and over https; None: without.
        server_name: Whose certificate is expected, where `access` does not say.

    Returns:
        The text, and when its first byte came.

    Raises:
        ScrapeError: Whatever went wrong.
    """
    where = f"GET {path} on {address}"
    try:
        answer = await getter.get(
            address, path, deadline, most=most, access=access, server_name=server_name
        )
    except TimeoutError:
        raise ScrapeError(f"{where} took longer than {deadline:g} s") from None
    except TooLongError as error:
        raise ScrapeError(f"{where} {error}") from None
    except AnswerError as error:
        raise ScrapeError(f"{where}: {error}") from None
    except AccessError as error:
        raise ScrapeError(f"{where}: {error}") from None
    except ssl.SSLCertVerificationError as error:
        why = f"its certificate is not trusted: {error.verify_message}"
        raise ScrapeError(f"{where}: {why}") from None
    except ssl.SSLError as error:
        reason = (error.reason or "unknown").replace("_", " ").lower()
        raise ScrapeError(f"{where}: no TLS there: {reason}") from None
    except OSError as error:
        refused = isinstance(error, ConnectionRefusedError)
        why = "nobody listens" if refused else error.strerror or "cannot connect"
        raise ScrapeError(f"{where}: {why}", refused=refused) from None
    if answer.status != HTTPStatus.OK:
        raise ScrapeError(f"{where} answers {answer.status}, not 200{_hint(answer)}")
    if answer.encoding != "identity":
        raise ScrapeError(f"{where} answers compressed, which was not asked for")
    try:
        return answer.body.decode("utf-8"), answer.began_at
    except UnicodeDecodeError:
        raise ScrapeError(f"{where} is not UTF-8 text") from None


def _hint(answer: Answer) -> str:
    """What an operator can do about an answer that is none."""
    if answer.status in _REDIRECTS and answer.location:
        # Only a header, and only its beginning: nothing of a body is repeated anywhere.
        return f": it leads to {shown(answer.location)}, scrape that where it is meant"
    if answer.status in _WANT_CREDENTIALS:
        return ": it wants credentials, see scraping in the docs"
    return ""
