"""As much of HTTP/1.1 as generator, proxies and simulated replicas speak here. Pure.

Messages have a content-length, and a connection carries one request at a time. A general library
took most of the CPU that a request costs on two cores.
"""

from dataclasses import dataclass
from typing import Final

PATH: Final = "/v1/embeddings"
STATE: Final = "/state"
"""What a replica of a benchmark says of itself, and a real one does not."""

SERVED_BY: Final = "x-replica"
"""The header that says who answered."""

ORCA: Final = "endpoint-load-metrics"

_END: Final = b"\r\n\r\n"


class MalformedMessageError(ValueError):
    """The bytes are no message of the kind that is expected here."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a response.

    Attributes:
        start: The first line, ``POST /v1/embeddings HTTP/1.1`` or ``HTTP/1.1 200 OK``.
        headers: By lower-case name.
        body: Whole.
    """

    start: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_last(self) -> bool:
        """Whether the connection is not used again."""
        said = self.headers.get("connection", "").lower()
        return said == "close" or ("HTTP/1.0" in self.start and said != "keep-alive")


def split(buffer: bytes) -> tuple[Message, bytes] | None:
    """The first message and what follows it; None while it is not complete.

    Raises:
        MalformedMessageError: It says no length that could be waited for.
    """
    top, end, rest = buffer.partition(_END)
    if not end:
        return None
    start, headers = head(top)
    if "transfer-encoding" in headers:
        raise MalformedMessageError(f"{start!r} has no content-length but a transfer-encoding")
    length = int(headers.get("content-length", "0"))
    if len(rest) < length:
        return None
    return Message(start, headers, rest[:length]), rest[length:]


def head(data: bytes) -> tuple[str, dict[str, str]]:
    """The first line of a message, and its headers by lower-case name."""
    start, *lines = data.decode("latin-1").strip("\r\n").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return start, headers


def request(method: str, path: str, host: str, body: bytes) -> bytes:
    """A request as bytes."""
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def response(status: str, headers: dict[str, str], body: bytes) -> bytes:
    """A response as bytes; the status with its reason, as in ``200 OK``."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body
