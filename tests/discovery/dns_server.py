"""A DNS server on loopback, over UDP and TCP, that answers as it is told."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.processes import free_port

UDP_BYTES = 1232


class DnsServer:
    """Its records, and how it fails.

    Attributes:
        records: TTL and data by name and type; a name that is in none of them does not exist.
        rcodes: Instead of an answer, by name and type.
        silent: Whether it answers nothing at all.
        asked: How often each question came, by protocol, name and type.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.records: dict[tuple[str, str], tuple[int, list[str]]] = {}
        self.rcodes: dict[tuple[str, str], dns.rcode.Rcode] = {}
        self.silent = False
        self.asked: Counter[tuple[str, str, str]] = Counter()

    def answer(self, wire: bytes, protocol: str) -> bytes | None:
        """What to send back; None: nothing."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        key = (question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype))
        self.asked[protocol, *key] += 1
        if self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if key in self.rcodes:
            response.set_rcode(self.rcodes[key])
        elif key in self.records:
            ttl, data = self.records[key]
            if data:
                rrset = dns.rrset.from_text_list(question.name, ttl, "IN", key[1], data)
                response.answer.append(rrset)
        elif not any(name == key[0] for name, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        reply = response.to_wire()
        if protocol == "udp" and len(reply) > UDP_BYTES:
            response.answer.clear()
            response.flags |= dns.flags.TC
            reply = response.to_wire()
        return reply

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one question over TCP (RFC 1035, 4.2.2)."""
        size = int.from_bytes(await reader.readexactly(2), "big")
        reply = self.answer(await reader.readexactly(size), "tcp")
        if reply is not None:
            writer.write(len(reply).to_bytes(2, "big") + reply)
            await writer.drain()
        writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        reply = self._server.answer(data, "udp")
        if reply is not None:
            self._transport.sendto(reply, address)


@asynccontextmanager
async def dns_server() -> AsyncIterator[DnsServer]:
    """Run one until the context closes."""
    server = DnsServer()
    loop = asyncio.get_running_loop()
    here = ("127.0.0.1", server.port)
    transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(server), local_addr=here)
    tcp = await asyncio.start_server(server.connected, *here)
    try:
        yield server
    finally:
        transport.close()
        tcp.close()
        await tcp.wait_closed()
