"""HTTP/1.1 answers without a socket: bytes in as they come, one whole answer out.

Only what a scraper needs of RFC 9112, and strictly: whatever is not clearly an answer is an error.
A general client spends more on a scrape than reading what was scraped takes.
"""

import re
from typing import Final

MAX_HEAD: Final = 32 << 10
"""Bytes of a status line with its headers, and of what follows the last chunk."""
MAX_CHUNK_LINE: Final = 1 << 10

_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: .*)?")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,8}")


class AnswerError(Exception):
    """This is no HTTP answer, or one that is too long; the message says why in a few words."""


class Response:
    """One answer to a GET, as far as it has come.

    Attributes:
        status: 0 until it is known.
        headers: By name in lower case; of one that is repeated the last.
        body: Only of status 200: of nothing else is it looked at.
        is_whole: Nothing more is to come.
        keeps_alive: Whether the connection can take another request; once it is whole.
    """

    __slots__ = (
        "_chunked",
        "_left",
        "_most",
        "_rest",
        "_trailing",
        "body",
        "headers",
        "is_whole",
        "keeps_alive",
        "status",
    )

    def __init__(self, most: int) -> None:
        """Begin.

        Args:
            most: Bytes that a body may have.
        """
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.is_whole = False
        self.keeps_alive = False
        self._most = most
        self._rest = bytearray()
        # Of the body, or of a chunk of it; None where that is not known.
        self._left: int | None = None
        self._chunked = False
        self._trailing = False

    def feed(self, data: "bytes | memoryview") -> None:
        """Take in what has come.

        Raises:
            AnswerError: It cannot be part of an answer.
        """
        self._rest += data
        while not self.is_whole and self._advance():
            pass
        if self._rest and self.is_whole:
            # Nobody has asked for that: whatever comes next would not be an answer either.
            self.keeps_alive = False

    def end(self) -> None:
        """The other side has closed the connection.

        Raises:
            AnswerError: Before the answer was whole.
        """
        if self.status and self._left is None and not self._chunked:
            self.is_whole = True
        if not self.is_whole:
            raise AnswerError("the connection was closed before the answer was whole")

    def _advance(self) -> bool:
        """One step; False when that needs more than there is."""
        if not self.status:
            return self._head()
        if not self._chunked:
            return self._plain()
        if self._trailing:
            return self._trailer()
        return self._size() if self._left is None else self._chunk()

    def _head(self) -> bool:
        end = self._rest.find(b"\r\n\r\n")
        if end < 0:
            if len(self._rest) > MAX_HEAD:
                raise AnswerError(f"the headers are longer than {MAX_HEAD} bytes")
            return False
        first, *lines = bytes(self._rest[:end]).split(b"\r\n")
        del self._rest[: end + 4]
        found = _STATUS.fullmatch(first)
        if found is None or end > MAX_HEAD:
            raise AnswerError("this is no HTTP answer")
        status = int(found[2])
        if status == 101:
            raise AnswerError("it answers 101, which nobody asked for")
        if status < 200:
            return True
        self.headers = _headers(lines)
        self.status = status
        if status != 200:
            self.is_whole = True
            return True
        said = self.headers.get("connection", "").lower()
        self.keeps_alive = "close" not in said if found[1] == b"1" else "keep-alive" in said
        self._measure()
        return True

    def _measure(self) -> None:
        """How long the body is."""
        length, coding = self.headers.get("content-length"), self.headers.get("transfer-encoding")
        if coding is not None:
            if coding.lower() != "chunked" or length is not None:
                raise AnswerError("it is transferred in a way that nobody understands")
            self._chunked = True
        elif length is None:
            self.keeps_alive = False
        elif not (length.isascii() and length.isdigit()):
            raise AnswerError("its length is no number")
        else:
            # A number with thousands of digits is not for int().
            self._left = int(length) if len(length) < 20 else self._most + 1
            self._must_fit(self._left)

    def _plain(self) -> bool:
        self.body += self._rest if self._left is None else self._rest[: self._left]
        del self._rest[: self._left]
        self._must_fit(0)
        self.is_whole = self._left is not None and len(self.body) == self._left
        return False

    def _size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        size = line.partition(b";")[0].strip(b" \t")
        if not _SIZE.fullmatch(size):
            raise AnswerError("a chunk's size is no number")
        self._left = int(size, 16)
        self._trailing = self._left == 0
        self._must_fit(self._left)
        return True

    def _chunk(self) -> bool:
        assert self._left is not None  # noqa: S101 - tells mypy what `_advance` has looked at
        if self._left:
            part = self._rest[: self._left]
            self.body += part
            self._left -= len(part)
            del self._rest[: len(part)]
        if self._left or len(self._rest) < 2:
            return False
        if self._rest[:2] != b"\r\n":
            raise AnswerError("a chunk is not as long as it says")
        del self._rest[:2]
        self._left = None
        return True

    def _trailer(self) -> bool:
        line = self._line()
        if line is None:
            return False
        self.is_whole = not line
        return True

    def _line(self) -> bytes | None:
        """The next line, without its end; None while it is not whole."""
        end = self._rest.find(b"\r\n")
        if max(end, len(self._rest) if end < 0 else 0) > MAX_CHUNK_LINE:
            raise AnswerError("a line between chunks is too long")
        if end < 0:
            return None
        line = bytes(self._rest[:end])
        del self._rest[: end + 2]
        return line

    def _must_fit(self, coming: int) -> None:
        if len(self.body) + coming > self._most:
            raise AnswerError(f"it is longer than {self._most >> 20} MiB")


def _headers(lines: list[bytes]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            raise AnswerError("this is no HTTP header")
        name = name.lower()
        if name in found and name in ("content-length", "transfer-encoding"):
            raise AnswerError("it says twice how long it is")
        found[name] = value.strip(" \t")
    return found
