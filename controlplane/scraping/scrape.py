"""One scrape: the text that an address answers a GET with, within a deadline and a size.

A connection is kept for the next scrape. A general client took half as long again for a scrape as
reading what was scraped takes; see docs/decisions/0010.
"""

import asyncio
import base64
import errno
import socket
import ssl
import time
from collections.abc import Callable
from functools import lru_cache, partial
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from aiohappyeyeballs import start_connection
from yarl import URL

from controlplane.config import Address
from controlplane.config.addresses import refusal
from controlplane.config.metrics import DEFAULT_BYTES, AccessSettings
from controlplane.files import read_file
from controlplane.http_connection import (
    Answer,
    AnswerError,
    Connection,
    DisconnectedError,
    TooLongError,
    room,
)
from controlplane.telemetry.layouts import shown

LOOK: Final = 5.0
"""Seconds between two looks at a file: tokens that orchestrators mount are replaced every hour."""
MOST: Final = 1 << 20
"""Bytes of a file: a bundle of all certificates that a machine trusts is a quarter of that."""


class AccessError(Exception):
    """An exposition cannot be asked for; the message is a part of a sentence that says why."""


class Access:
    """How one kind of exposition is asked for."""

    def __init__(
        self,
        settings: AccessSettings,
        folder: Path = Path(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; no file is read yet. Paths are relative to the folder."""
        self._settings = settings
        self._folder = folder
        self._clock = clock
        self._read: dict[str, tuple[float, bytes]] = {}
        self._trusted: tuple[str | None, ssl.SSLContext, ssl.SSLContext] | None = None

    @property
    def server_name(self) -> str | None:
        """Whose certificate is expected; None: that of the address."""
        return self._settings.server_name

    @property
    def header(self) -> str:
        """The header with the credentials; empty where there are none. May raise `AccessError`."""
        settings = self._settings
        if settings.bearer_file is not None:
            return f"Authorization: Bearer {self._word(settings.bearer_file, ' ')}\r\n"
        if settings.username is not None and settings.password_file is not None:
            password = self._word(settings.password_file, "")
            pair = base64.b64encode(f"{settings.username}:{password}".encode()).decode("ascii")
            return f"Authorization: Basic {pair}\r\n"
        return ""

    @property
    def context(self) -> ssl.SSLContext | None:
        """For https; None for http. May raise `AccessError`."""
        return self._contexts()[0] if self._settings.scheme == "https" else None

    @property
    def http2_context(self) -> ssl.SSLContext | None:
        """The same for HTTP/2."""
        return self._contexts()[1] if self._settings.scheme == "https" else None

    def _contexts(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        name = self._settings.ca_file
        # Bundles have the names of certificates beside them, and Python takes ASCII alone.
        trusted = self._bytes(name).decode("ascii", "ignore") if name is not None else None
        if self._trusted is None or self._trusted[0] != trusted:
            try:
                context, http2 = (ssl.create_default_context(cadata=trusted) for _ in range(2))
            except (ssl.SSLError, ValueError):
                raise AccessError(f"ca_file {name} holds no certificate") from None
            http2.set_alpn_protocols(["h2"])
            self._trusted = trusted, context, http2
        return self._trusted[1:]

    def _word(self, name: str, refused: str) -> str:
        word = self._text(name).strip("\r\n")
        word = word.strip() if refused else word
        if not word or not word.isprintable() or (refused and refused in word):
            raise AccessError(f"{name} must hold one line of printing characters")
        if refused and not word.isascii():
            raise AccessError(f"{name} must hold a token of ASCII characters")
        return word

    def _text(self, name: str) -> str:
        try:
            return self._bytes(name).decode()
        except UnicodeDecodeError:
            raise AccessError(f"{name} is not UTF-8 text") from None

    def _bytes(self, name: str) -> bytes:
        """What is in a file, now or a moment ago."""
        now = self._clock()
        at, known = self._read.get(name, (float("-inf"), b""))
        if now - at < LOOK:
            return known
        try:
            data = read_file(self._folder / name, MOST)
        except OSError as error:
            raise AccessError(f"{name} cannot be read: {error.strerror or error}") from None
        self._read[name] = now, data
        return data


LATE: Final = 0.05
"""Seconds between two looks for answers that are overdue: one timer for all that are awaited."""

STILL: Final = 0.25
"""Seconds between two looks from where on this process, or all of its machine, stood still: that
time is not held against those who were to answer in it."""


class Receiver:
    """What connections of one event loop share: room for what comes, and whose time is up."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, most: int = DEFAULT_BYTES
    ) -> None:
        """Prepare; the clock counts seconds that never go back."""
        self.clock = clock
        self.most = most
        self._room = room()
        self._due: dict[asyncio.Future[Answer], float] = {}
        self._looks = False
        self._looked_at = clock()

    def connection(self) -> Connection:
        """Make one that is not connected yet."""
        return Connection(self._room, self.clock)

    async def ask(self, connection: Connection, request: bytes, due: float, most: int) -> Answer:
        """Send a whole request and wait for the answer, until `due` on the clock or `LATE` longer.

        Raises:
            AnswerError: What came is none, is longer than `most` bytes, or nothing came.
            TimeoutError: It was not there by then.
        """
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        connection.send(request, partial(_settle, answered), most, only_ok=True)
        self._due[answered] = due
        if not self._looks:
            self._look_later(self.clock())
        try:
            return await answered
        finally:
            del self._due[answered]
            # An error would refer to it by way of this frame, and garbage is looked for rarely.
            del answered

    def _look(self) -> None:
        now = self.clock()
        if (passed := now - self._looked_at) > STILL:
            self._due = {answered: due + passed for answered, due in self._due.items()}
        for answered in [overdue for overdue, due in self._due.items() if due <= now]:
            _settle(answered, TimeoutError())
        self._looks = False
        if self._due:
            self._look_later(now)

    def _look_later(self, now: float) -> None:
        self._looks, self._looked_at = True, now
        asyncio.get_running_loop().call_later(LATE, self._look)


def _settle(answered: asyncio.Future[Answer], outcome: Answer | AnswerError | TimeoutError) -> None:
    if answered.done():
        return
    if isinstance(outcome, Answer):
        answered.set_result(outcome)
    else:
        answered.set_exception(outcome)


IDLE: Final = 15.0
"""Seconds after which a connection is not used again: something on the way may have forgotten it,
and would not say so."""

RENEWED: Final = 60.0
"""Seconds after which a connection is made anew: behind one port there may be several processes, of
which a connection reaches one for as long as it is kept."""

_ATTEMPT: Final = 0.25
"""Seconds after which the next address of a name is tried as well (RFC 8305)."""

# No compression: nothing that is small on the wire can be large in memory.
_HEADERS: Final = (
    "Accept: text/plain;version=0.0.4\r\nAccept-Encoding: identity\r\nUser-Agent: plimsoll\r\n\r\n"
)


class Getter:
    """Asks one address at a time, and keeps the connection for the next time; `close` it."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._whom: tuple[Address, Access | None, str | None] | None = None
        self._connection: Connection | None = None
        self._opened_at = 0.0

    async def get(
        self,
        address: Address,
        path: str,
        deadline: float,
        *,
        most: int | None = None,
        access: Access | None = None,
        server_name: str | None = None,
    ) -> Answer:
        """Ask once; a cancelled request closes the connection.

        Args:
            path: For what, with a query if there is one.
            deadline: Seconds for all of it.
            most: Bytes that the answer's body may have.
            access: With which credentials, and over https; None: without.
            server_name: Whose certificate is expected, where `access` does not say; None: that of
                the address.

        Raises:
            AccessError: The credentials cannot be used.
            OSError: Nobody can be reached there.
            AnswerError: What came is no answer, or a longer one than may be.
            TimeoutError: It was not there by then.
        """
        request = _request(address, path, access.header if access is not None else "")
        now, most = self._receiver.clock(), self._receiver.most if most is None else most
        due = now + deadline
        whom = (address, access, server_name)
        if whom != self._whom or now - self._opened_at > RENEWED:
            self.close()
            self._whom = whom
        known = self._connection
        try:
            if known is not None and now - known.used_at <= IDLE:
                try:
                    return await self._receiver.ask(known, request, due, most)
                except DisconnectedError:
                    # It was closed for having been idle, perhaps while the request was on its way.
                    pass
            self.close()
            self._opened_at = self._receiver.clock()
            async with asyncio.timeout(due - self._opened_at):
                self._connection = await self._connected(address, access, server_name)
            return await self._receiver.ask(self._connection, request, due, most)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _connected(
        self, address: Address, access: Access | None, server_name: str | None
    ) -> Connection:
        context = access.context if access is not None else None
        loop = asyncio.get_running_loop()
        try:
            found = socket.getaddrinfo(
                *(address.host, address.port),
                type=socket.SOCK_STREAM,
                flags=socket.AI_NUMERICHOST,
            )
        except socket.gaierror:
            found = await loop.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            )
        for *_, place in found:
            # A name that led elsewhere when it was written down may lead to a cloud's metadata now.
            if (why := refusal(ip_address(str(place[0]).partition("%")[0]))) is not None:
                raise OSError(errno.EACCES, f"it leads to an address that {why}")
        connected = await start_connection(found, happy_eyeballs_delay=_ATTEMPT)
        name = None
        if access is not None and context:
            name = access.server_name or server_name or address.host
        _, connection = await loop.create_connection(
            self._receiver.connection,
            sock=connected,
            ssl=context,
            server_hostname=name,
        )
        return connection


@lru_cache(maxsize=1 << 12)
def _request(address: Address, path: str, header: str) -> bytes:
    url = URL(f"http://{address}{path}")
    host = url.host_port_subcomponent
    return f"GET {url.raw_path_qs} HTTP/1.1\r\nHost: {host}\r\n{header}{_HEADERS}".encode("ascii")


MAX_DEADLINE: Final = 10.0
"""Seconds; by default the deadline of a scrape is its interval, and never more than this."""

_WANT_CREDENTIALS: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_REDIRECTS: Final = range(300, 400)


class ScrapeError(Exception):
    """A scrape that yielded no text, and why; `refused`: nobody listened at the address."""

    def __init__(self, sentence: str, *, refused: bool = False) -> None:
        self.refused = refused
        super().__init__(sentence)


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
    """Ask for an exposition, see `Getter.get`; returns the text, and when its first byte came.

    An address is a host and a port that somebody registered, not a place to be sent on from: an
    answer that leads elsewhere is none.
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
    if answer.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise ScrapeError(f"{where} answers compressed, which was not asked for")
    try:
        return answer.body.decode("utf-8"), answer.began_at
    except UnicodeDecodeError:
        raise ScrapeError(f"{where} is not UTF-8 text") from None


def _hint(answer: Answer) -> str:
    """What an operator can do about an answer that is none."""
    if answer.status in _REDIRECTS and (location := answer.headers.get("location")):
        # Repeat the beginning of one header only, and nothing of a body.
        return f": it leads to {shown(location)}, scrape that where it is meant"
    if answer.status in _WANT_CREDENTIALS:
        return ": it wants credentials, see scraping in the docs"
    return ""
