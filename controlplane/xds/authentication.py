"""Find out who is at the other end of a connection to the xDS port, by its certificate."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import grpc

from controlplane.identity import Admission, Credentials, Identity, NotAdmittedError
from controlplane.xds.connection import FIRST_REQUEST, TOO_LATE, Context, SilentStreams
from controlplane.xds.events import Event, Refused
from controlplane.xds.node import ProtocolError

REFUSALS: Final = ("UNAUTHENTICATED", "PERMISSION_DENIED")
"""Codes of streams that end because of who their client is."""


@dataclass(frozen=True, slots=True)
class XdsTls:
    """TLS of the xDS server; connections last so many seconds, by a tenth more or less."""

    credentials: Credentials
    admission: Admission
    max_connection_age: float


class Authenticator:
    """Identifies the clients of a server; without TLS nobody has an identity."""

    def __init__(
        self,
        admission: Admission | None,
        observe: Callable[[str, Event], None],
        is_ready: Callable[[], bool],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; the wall clock counts seconds since 1970."""
        self._admission = admission
        self._observe = observe
        self._is_ready = is_ready
        self._wall_clock = wall_clock
        self.silent = SilentStreams()
        # Of streams that are open; each ends with why its client counts no more.
        self._lost: dict[asyncio.Future[str], Identity] = {}

    def identify(self, context: Context) -> Identity | None:
        """Return what the client of a stream has proven; None without TLS."""
        if self._admission is None:
            return None
        shown = context.auth_context()
        pem = b"".join(shown.get("x509_pem_cert", ()))
        resumed = b"true" in shown.get("ssl_session_reused", ())
        try:
            return self._admission.identify(pem, self._wall_clock(), resumed=resumed)
        except NotAdmittedError as error:
            raise ProtocolError("UNAUTHENTICATED", str(error)) from None

    def refusal(self, identity: Identity | None) -> str | None:
        """Why an identity counts no more; None while it does."""
        if self._admission is None or identity is None:
            return None
        return self._admission.refusal(identity, self._wall_clock())

    def look(self) -> None:
        """Find out whose identity counts no more, and end their `admitted` streams."""
        for lost, identity in self._lost.items():
            if not lost.done() and (why := self.refusal(identity)) is not None:
                lost.set_result(why)

    async def started(
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        """Yield the requests of a stream whose first request comes soon."""
        leave = self.silent.enter(context.peer())
        try:
            async with asyncio.timeout(FIRST_REQUEST):
                first = await anext(requests)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise ProtocolError("DEADLINE_EXCEEDED", TOO_LATE) from None
        finally:
            leave()
        yield first
        async for each in requests:
            yield each

    async def admitted(
        self, requests: AsyncIterator[bytes], context: Context, identity: Identity | None
    ) -> AsyncIterator[bytes]:
        """Yield the same for as long as the identity of the stream's client counts."""
        requests = self.started(requests, context)
        if identity is None:
            async for each in requests:
                yield each
            return
        # A client that says nothing is to lose its stream, too.
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._lost[lost] = identity
        try:
            while True:
                coming = asyncio.ensure_future(anext(requests))
                try:
                    await asyncio.wait((coming, lost), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    # A request that has come stays in the task.
                    coming.cancel()
                why = lost.result() if lost.done() else self.refusal(identity)
                if why is not None:
                    raise ProtocolError("UNAUTHENTICATED", why)
                try:
                    yield coming.result()
                except StopAsyncIteration:
                    return
        finally:
            del self._lost[lost]

    def refused(self, context: Context, identity: Identity | None, reason: str) -> None:
        """Report that a client was not admitted."""
        peer = context.peer().partition(":")[2]
        host = peer.rpartition(":")[0]
        self._observe(identity.node if identity else host, Refused(peer, reason))

    @asynccontextmanager
    async def call(
        self, context: Context, *, needs_config: bool = True
    ) -> AsyncIterator[Identity | None]:
        """Serve a call; yields the identity of its client.

        A `ProtocolError`, or a client that is not admitted, ends the call. A configuration
        that is needed and not loaded ends it, too: without it every answer would be wrong.
        """
        if needs_config and not self._is_ready():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no configuration is loaded yet")
        identity = None
        try:
            identity = self.identify(context)
            yield identity
        except ProtocolError as error:
            if error.code in REFUSALS:
                self.refused(context, identity, error.message)
            await context.abort(grpc.StatusCode[error.code], error.message)


class Limit:
    """How many calls of one kind may be open at a time."""

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what, self.open = most, what, 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count a call while this is open; one too many is a `ProtocolError`."""
        if self.open >= self._most:
            raise ProtocolError(
                "RESOURCE_EXHAUSTED", f"{self._most} {self._what} are open, and no more are taken"
            )
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
