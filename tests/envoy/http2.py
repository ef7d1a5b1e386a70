"""An HTTP/2 connection that stays open from one request to the next."""

import asyncio
import ssl
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, ResponseReceived, StreamEnded, StreamReset


class Http2Connection:
    """A connection to a port on loopback; requests go over it one after the other."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        """Name the server.

        Args:
            port: Where it listens.
            context: What the client trusts and shows; HTTP/2 is added to it.
        """
        context.set_alpn_protocols(["h2"])
        self._port, self._context = port, context
        self._protocol = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._context, server_hostname="p"
        )
        self._protocol.initiate_connection()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    async def post(self) -> int:
        """The status of a request.

        Raises:
            ConnectionError: The server ended the connection or the stream before the answer.
        """
        stream = self._protocol.get_next_available_stream_id()
        headers = {":method": "POST", ":scheme": "https", ":authority": "p"}
        headers[":path"] = "/v1/embeddings"
        self._protocol.send_headers(stream, [*headers.items()], end_stream=True)
        status = 0
        while True:
            self._writer.write(self._protocol.data_to_send())
            data = await self._reader.read(1 << 14)
            if not data:
                raise ConnectionError("the server closed the connection")
            for event in self._protocol.receive_data(data):
                match event:
                    case ResponseReceived(headers=found):
                        # The encoding makes them text.
                        status = int({str(k): str(v) for k, v in found or ()}[":status"])
                    case StreamEnded():
                        return status
                    case StreamReset() | ConnectionTerminated():
                        raise ConnectionError(f"the server ended it: {event}")
