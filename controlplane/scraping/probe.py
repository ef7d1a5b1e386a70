"""Health probes: replicas are asked as Envoys ask them, over HTTP/1.1, HTTP/2, gRPC, and TLS."""

import asyncio
import logging
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import aiohttp
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from controlplane.config import Address, PoolSettings
from controlplane.config.metrics import AccessSettings
from controlplane.config.tls import SYSTEM
from controlplane.plane import Probe, Target
from controlplane.scraping.scrape import MAX_DEADLINE, Access, AccessError

MOST: Final = 1 << 16
"""Bytes of an answer: what health checks say is shorter by far."""
_PIECE: Final = 1 << 14


class Http2Error(Exception):
    """What came is no answer over HTTP/2; the message says why in a few words."""


@dataclass(slots=True)
class Answer:
    """A whole answer; trailers are among the headers, names in small letters."""

    headers: dict[str, str]
    body: bytes = b""


async def ask(
    address: Address,
    headers: Mapping[str, str],
    body: bytes = b"",
    *,
    context: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> Answer:
    """Send a request and wait for the whole answer; a cancelled one closes the connection.

    Args:
        headers: Of the request, pseudo-headers first.
        context: Of TLS; None: in plain text.
        server_name: That the certificate must be of.
    """
    reader, writer = await asyncio.open_connection(
        address.host, address.port, ssl=context, server_hostname=server_name if context else None
    )
    try:
        return await _exchange(reader, writer, headers, body)
    except ProtocolError as error:
        raise Http2Error(f"this is no HTTP/2: {str(error)[:100]}") from None
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    headers: Mapping[str, str],
    body: bytes,
) -> Answer:
    connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    stream = connection.get_next_available_stream_id()
    connection.send_headers(stream, [*headers.items()], end_stream=not body)
    if body:
        connection.send_data(stream, body, end_stream=True)
    answer = Answer({})
    while True:
        writer.write(connection.data_to_send())
        await writer.drain()
        data = await reader.read(_PIECE)
        if not data:
            raise Http2Error("the connection was closed before the answer was whole")
        for event in connection.receive_data(data):
            if _taken(answer, event):
                return answer
            if isinstance(event, DataReceived) and event.flow_controlled_length:
                connection.acknowledge_received_data(event.flow_controlled_length, stream)


def _taken(answer: Answer, event: Event) -> bool:
    """Add what an event brings to an answer; whether it is whole now."""
    match event:
        case ResponseReceived(headers=received) | TrailersReceived(headers=received):
            answer.headers.update({str(name): str(value) for name, value in received or ()})
        case DataReceived(data=data):
            answer.body += data or b""
            if len(answer.body) > MOST:
                raise Http2Error(f"the answer is longer than {MOST} bytes")
        case StreamEnded():
            return True
        case StreamReset() | ConnectionTerminated():
            raise Http2Error("the server ended it before the answer was whole")
    return False


_log = logging.getLogger(__name__)

_CHECK: Final = "/grpc.health.v1.Health/Check"
_PREFIX: Final = struct.Struct(">BI")
"""Before each message of gRPC: whether it is compressed, and how long it is."""
_SERVING: Final = 1


def upstream_access(settings: PoolSettings) -> AccessSettings | None:
    """How a pool's replicas are reached over TLS; None: they are reached in plain text."""
    tls = settings.upstream.tls
    if tls is None:
        return None
    return AccessSettings(scheme="https", ca_file=None if tls.ca == SYSTEM else tls.ca)


@asynccontextmanager
async def probing(
    access: Callable[[AccessSettings | None], Access | None],
) -> AsyncIterator["Prober"]:
    """What asks replicas, until the context closes; see `Prober`."""
    # Each probe is a connection of its own.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        yield Prober(session, access)


class Prober:
    """Asks replicas for their health."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        access: Callable[[AccessSettings | None], Access | None],
    ) -> None:
        """Prepare; `access` finds what reads the certificates that are trusted."""
        self._session = session
        self._access = access
        # Whose certificates are not trusted, and why.
        self._distrusted: dict[tuple[str, str], str] = {}

    async def probe(self, target: Target) -> Probe:
        """Ask a replica once."""
        try:
            is_well = await self._is_well(target)
        except aiohttp.ClientConnectorCertificateError as error:
            return self._distrust(target, error.certificate_error)
        except (ssl.SSLCertVerificationError, AccessError) as error:
            return self._distrust(target, error)
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, ConnectionRefusedError)
            return Probe.REFUSED if refused else Probe.UNREACHABLE
        except ConnectionRefusedError:
            return Probe.REFUSED
        except (aiohttp.ClientError, Http2Error, OSError, TimeoutError):
            return Probe.UNREACHABLE
        self.forget(target.pool, target.replica.id)
        return Probe.HEALTHY if is_well else Probe.UNHEALTHY

    def forget(self, pool: str, replica_id: str) -> None:
        """Keep nothing of a replica that is not asked any more."""
        self._distrusted.pop((pool, replica_id), None)

    def _distrust(self, target: Target, error: Exception) -> Probe:
        why = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error
        key = (target.pool, target.replica.id)
        sentence = f"{target.pool}/{target.replica.id} at {target.replica.settings.address}"
        sentence = f"the certificate of {sentence} is not trusted: {why}"
        # It is asked again in a moment, and says the same.
        if self._distrusted.get(key) != sentence:
            self._distrusted[key] = sentence
            _log.warning(sentence)
        return Probe.UNTRUSTED

    async def _is_well(self, target: Target) -> bool:
        check = target.settings.health_check
        deadline = min(target.settings.metrics.interval, MAX_DEADLINE)
        # A check that Envoy would still accept is not cut short by a short scraping interval.
        async with asyncio.timeout(max(deadline, check.timeout)):
            if check.protocol == "grpc":
                return _says_serving(await self._ask_http2(target, grpc=True))
            if target.settings.upstream.protocol == "http2":
                answer = await self._ask_http2(target, grpc=False)
                return check.expects(int(answer.headers.get(":status", 0)))
            return check.expects(await self._ask_http1(target))

    async def _ask_http1(self, target: Target) -> int:
        check, address = target.settings.health_check, target.replica.settings.address
        access = self._access(upstream_access(target.settings))
        context = access.context if access is not None else None
        # As Envoy sends them: a replica that refuses one of the two must refuse the other.
        headers = {**check.headers, "Host": check.host_of(address)}
        async with self._session.get(
            f"http{'s' if context else ''}://{address}{check.path}",
            headers=headers,
            allow_redirects=False,
            ssl=context or True,
            server_hostname=name_of(target) if context else None,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as response:
            return response.status

    async def _ask_http2(self, target: Target, *, grpc: bool) -> Answer:
        check, address = target.settings.health_check, target.replica.settings.address
        access = self._access(upstream_access(target.settings))
        context = access.http2_context if access is not None else None
        headers = {
            ":method": "POST" if grpc else "GET",
            ":scheme": "https" if context else "http",
            ":authority": check.host_of(address),
            ":path": _CHECK if grpc else check.path,
            **({"te": "trailers", "content-type": "application/grpc"} if grpc else {}),
            **{name.lower(): value for name, value in check.headers.items()},
        }
        # On the wire, HealthCheckRequest and HealthCheckResponse are what these are.
        message = StringValue(value=check.service).SerializeToString()
        body = _PREFIX.pack(0, len(message)) + message if grpc else b""
        return await ask(address, headers, body, context=context, server_name=name_of(target))


def name_of(target: Target) -> str | None:
    """The name that a replica's certificate must be of; None: it has none."""
    tls = target.settings.upstream.tls
    return tls.name_of(target.replica.id) if tls is not None else None


def _says_serving(answer: Answer) -> bool:
    """Whether an answer of the health service says that it serves."""
    if answer.headers.get(":status") != str(HTTPStatus.OK.value):
        return False
    if answer.headers.get("grpc-status") != "0" or len(answer.body) < _PREFIX.size:
        return False
    try:
        return Int32Value.FromString(answer.body[_PREFIX.size :]).value == _SERVING
    except ValueError:
        return False
