"""Send calls over HTTP and read the answers; every failure is a `ClientError`."""

import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from yarl import URL

from controlplane.api.schema.answers import Answer
from controlplane.api.schema.operations import Operation
from controlplane.client.errors import (
    NotListeningError,
    TimedOutError,
    UnexpectedAnswerError,
    UnreachableError,
    UnsendableError,
    UntrustedError,
    problem,
)
from controlplane.config import SettingsError, validated


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        query: The parameters; None leaves one out.
        headers: The headers of `operation` to send; None leaves one out.
    """

    operation: Operation
    names: tuple[str, ...] = ()
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None

    @property
    def target(self) -> str:
        """Path and query as they are sent; names may hold any character."""
        quoted = [quote(name, safe="") for name in self.names]
        path = self.operation.path.format_map(dict(zip(("pool", "replica"), quoted, strict=False)))
        pairs = [(key, text) for key, value in self.query.items() for text in _texts(value)]
        return f"{path}?{urlencode(pairs)}" if pairs else path

    def asking(self, **query: Any) -> Self:
        """The same call with other parameters."""
        return replace(self, query={**self.query, **query})


def _texts(value: object) -> Sequence[str]:
    match value:
        case None:
            return ()
        case bool():
            return ("true" if value else "false",)
        case tuple() | list():
            return tuple(map(str, value))
        case _:
            return (str(value),)


@dataclass(frozen=True, slots=True)
class Tls:
    """The files of https in PEM, as `Client` takes them."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files."""
        if self.key is not None and self.certificate is None:
            raise ValueError("a key goes with a certificate")
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError):
            raise ValueError(f"{self.ca} cannot be read, or holds no certificate in PEM") from None
        if self.certificate is not None:
            try:
                # An empty password, because nobody is there to type one.
                context.load_cert_chain(self.certificate, self.key, password="")
            except (OSError, ssl.SSLError):
                files = " and ".join(filter(None, (self.certificate, self.key)))
                raise ValueError(
                    f"{files} cannot be read, or hold no certificate with its key in PEM"
                ) from None
        return context


AnswerT = TypeVar("AnswerT", bound=Answer)

_PROBLEM: Final = "application/problem+json"

_SILENCE: Final = 45.0
"""Seconds without a byte after which a stream is cut; the server sends something every 15 s."""


def read(model: type[AnswerT], document: Any) -> AnswerT:
    """Read an answer; an `UnexpectedAnswerError` if the document is no such answer."""
    try:
        return validated(model, document)
    except SettingsError as error:
        raise UnexpectedAnswerError(
            f"the control plane's answer is no {model.__name__}: {error}"
        ) from None


@dataclass(frozen=True, slots=True)
class Received:
    """An answer that is no error.

    Attributes:
        body: Plain data; text where it is not JSON; None where there is none.
        etag: The ETag; None where there is none.
    """

    status: int
    body: Any
    etag: str | None

    @property
    def tagged(self) -> Any:
        """The body with the ETag as one of its keys."""
        return {**self.body, "etag": self.etag} if isinstance(self.body, dict) else self.body


class Connection:
    """Open connections to one control plane."""

    def __init__(self, url: str, token: str | None, timeout: float, tls: Tls = Tls()) -> None:
        """Check the URL, the token and the files; call `open` before sending anything."""
        if not _is_http(url):
            raise ValueError(f'{url!r} is not an address such as "http://127.0.0.1:8080"')
        token = (token or "").strip()
        if not (token.isascii() and token.isprintable()):
            raise ValueError("the token has characters that no token may have")
        self.url = url.rstrip("/")
        self._context = tls.context() if url.startswith("https:") else None
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout, self._timeouts = timeout, aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Prepare to send; nothing is sent yet."""
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(ssl=self._context or True),
            # Neither the environment's proxies nor ~/.netrc apply to a control plane.
            trust_env=False,
        )

    async def close(self) -> None:
        """End all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, call: Call, expected: tuple[int, ...] = ()) -> Received:
        """Send a call and return the answer; `expected`: statuses from 400 on that are no errors.

        Raises:
            ClientError: There is no answer, or the answer is an error.
        """
        with self._translated():
            async with self._request(call) as response:
                if response.status == 204:
                    return Received(204, None, None)
                data = await response.read()
        kind = response.content_type
        if response.status >= 400 and response.status not in expected:
            raise self._problem(response, data)
        if kind != call.operation.media:
            raise self._unexpected(response)
        body = self._json(data) if kind == "application/json" else data.decode("utf-8", "replace")
        return Received(response.status, body, response.headers.get("ETag"))

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send a call with an endless answer; yield its pieces as they come.

        Raises:
            ClientError: There is no answer, the answer is an error, or the connection is lost.
        """
        silence = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=_SILENCE)
        with self._translated():
            async with self._request(call, silence) as response:
                if response.status >= 400:
                    raise self._problem(response, await response.read())
                if response.content_type != call.operation.media:
                    raise self._unexpected(response)
                yield response.content.iter_any()

    def _request(
        self, call: Call, timeout: aiohttp.ClientTimeout | None = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._session is None:
            raise RuntimeError("use the client in its context: `async with Client(url) as client:`")
        headers = {key: value for key, value in call.headers.items() if value is not None}
        for name, value in headers.items():
            if not value.isprintable() or not value.isascii():
                raise UnsendableError(f"{value!r} cannot be the header {name}: it is no plain text")
        try:
            target = call.target
        except UnicodeEncodeError as error:
            raise UnsendableError(f"{error.object!r} cannot be sent: it is not UTF-8") from None
        return self._session.request(
            call.operation.method,
            URL(self.url + target, encoded=True),
            json=call.body,
            headers={"Accept": call.operation.media, **headers},
            allow_redirects=False,
            timeout=timeout or self._timeouts,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise TimedOutError(
                f"the control plane at {self.url} did not answer within {self._timeout:g} s"
            ) from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise UntrustedError(
                f"the certificate of {self.url} cannot be trusted: {error.certificate_error}"
            ) from None
        except aiohttp.ClientSSLError as error:
            raise UnreachableError(
                f"the TLS handshake with {self.url} has failed: {error.strerror or error}"
            ) from None
        except aiohttp.ClientConnectorError as error:
            # The reason of a refused connection adds nothing; that of a failed look-up does.
            why = error.os_error.strerror if isinstance(error.os_error, socket.gaierror) else None
            reason = f" ({why.lower()})" if why else ""
            raise NotListeningError(f"no control plane answers at {self.url}{reason}") from None
        except (
            aiohttp.ClientOSError,
            aiohttp.ServerDisconnectedError,
            aiohttp.ClientPayloadError,
        ) as error:
            if isinstance(error.__cause__, ssl.SSLError):
                # With TLS 1.3 a client knows only when it reads.
                raise UnreachableError(
                    f"the control plane at {self.url} refuses the certificate, or misses one:"
                    f" {error.__cause__.reason}"
                ) from None
            raise UnreachableError(
                f"the control plane at {self.url} closed the connection"
            ) from None
        except aiohttp.ClientResponseError:
            # Its message repeats bytes of the answer.
            raise UnexpectedAnswerError(
                f"the server at {self.url} is not a Plimsoll control plane:"
                " it does not speak HTTP/1"
            ) from None
        except aiohttp.ClientError as error:
            raise UnexpectedAnswerError(
                f"the server at {self.url} is not a Plimsoll control plane: {error}"
            ) from None

    def _problem(self, response: aiohttp.ClientResponse, data: bytes) -> Exception:
        document = self._json(data) if response.content_type == _PROBLEM else None
        if not isinstance(document, dict):
            return self._unexpected(response)
        return problem(response.status, document, response.headers)

    def _unexpected(self, response: aiohttp.ClientResponse) -> UnexpectedAnswerError:
        return UnexpectedAnswerError(
            f"the server at {self.url} is not a Plimsoll control plane:"
            f" HTTP {response.status} with {response.content_type}"
        )

    def _json(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise UnexpectedAnswerError(
                f"the server at {self.url} is not a Plimsoll control plane: its JSON is invalid"
            ) from None


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
