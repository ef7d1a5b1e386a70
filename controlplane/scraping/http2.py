"""One request over HTTP/2, on a connection of its own; the protocol is left to hyper-h2."""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

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

from controlplane.config import Address

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
