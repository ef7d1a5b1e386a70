"""The HTTP client of the generator against servers that answer in every way that HTTP allows."""

import asyncio
import gc
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme

from controlplane.tools.load.http import Client, Response
from tests.authority import client_context
from tests.processes import DEADLINE, free_port

CUT_OFF = "the connection was closed before the answer was whole"


@asynccontextmanager
async def answering(
    *pieces: bytes, closes: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answer every request with these bytes; gives the URL, and a list with what came."""
    came: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = len(connections)
        connections.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                came.append(b"%d: %s%s" % (connection, head, await reader.readexactly(length)))
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0)
                if closes:
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        scheme = "https" if tls else "http"
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/embed?a=1", came
    finally:
        server.close()
        for writer in connections:
            writer.close()


async def post(client: Client, body: bytes = b"{}", seconds: float = DEADLINE) -> Response:
    answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    client.post(body, answered.set_result, seconds)
    return await answered


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Replica: a\r\n\r\nhello",),
        (b"HTTP/1.1 200 OK\r\nX-Replica: a\r\nContent-", b"Length: 5\r\n\r\nhe", b"llo"),
        (
            b"HTTP/1.1 200 OK\r\nx-replica: a\r\ntransfer-encoding: chunked\r\n\r\n",
            b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        ),
        (b"HTTP/1.1 200 OK\nContent-Length: 5\nX-Replica: a\n\nhello",),
        (
            b"HTTP/1.1 100 Continue\r\nx-other: b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx-replica: a\r\ncontent-length: 5\r\n\r\nhello",
        ),
    ],
)
async def test_an_answer_is_whole_however_its_length_is_given(pieces: tuple[bytes, ...]) -> None:
    async with answering(*pieces) as (url, came):
        client = Client(url)
        for _ in range(2):
            response = await post(client, b'{"input": "x"}')
            assert (response.status, response.body, response.fault) == (200, b"hello", None)
            assert response.headers["x-replica"] == "a"
        client.close()
    first, second = came
    assert first.startswith(b"0: POST /embed?a=1 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert first.endswith(b'content-length: 14\r\n\r\n{"input": "x"}')
    # The connection was kept.
    assert second == first


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\nhello", closes=True) as (url, came):
        client = Client(url)
        responses = [await post(client) for _ in range(2)]
        client.close()
    assert [(each.status, each.body) for each in responses] == [(200, b"hello")] * 2
    assert [each[:2] for each in came] == [b"0:", b"1:"]


async def test_a_connection_that_is_to_be_closed_is_not_used_again() -> None:
    answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    async with answering(answer) as (url, came):
        client = Client(url)
        for _ in range(2):
            assert (await post(client)).status == 200
        client.close()
    assert [each[:2] for each in came] == [b"0:", b"1:"]


@pytest.mark.parametrize(
    ("piece", "fault"),
    [
        (b"", "the connection was closed without an answer"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
            "the connection was closed before the answer was whole",
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe",
            "the connection was closed before the answer was whole",
        ),
        (b"SSH-2.0-OpenSSH\r\n", "this is no HTTP answer: Expected HTTP/, RTSP/ or ICE/"),
    ],
)
async def test_what_is_no_answer_is_a_fault_in_words(piece: bytes, fault: str) -> None:
    async with answering(piece, closes=True) as (url, _):
        client = Client(url)
        response = await post(client)
    assert (response.status, response.fault, response.connected) == (None, fault, True)


async def test_an_answer_that_does_not_come_in_time_is_a_fault_and_closes_its_connection() -> None:
    async with answering() as (url, came):
        client = Client(url)
        responses = [await post(client, seconds=0.2) for _ in range(3)]
    assert {each.fault for each in responses} == {"no answer in time"}
    # On a busy machine the time may be over before a connection is open.
    assert len({each[:2] for each in came}) == len(came)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://127.0.0.1:{port}/", "connection refused"),
        ("http://localhost:{port}/", "connection refused"),
        ("http://name.invalid:{port}/", "host not found"),
    ],
)
async def test_an_address_that_cannot_be_reached_is_a_fault_in_words(url: str, fault: str) -> None:
    response = await post(Client(url.format(port=free_port())))
    assert (response.status, response.fault, response.connected) == (None, fault, False)


async def test_an_error_of_the_callback_is_not_taken_for_a_bad_answer() -> None:
    raised: list[BaseException | None] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: raised.append(context.get("exception")))

    def fail(_: Response) -> None:
        raise LookupError("as it is")

    async with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as (url, _):
        client = Client(url)
        client.post(b"{}", fail)
        async with asyncio.timeout(DEADLINE):
            while not raised:
                await asyncio.sleep(0.001)
        client.close()
    assert str(raised[0]) == "as it is"


async def test_a_user_and_a_password_in_the_url_are_sent() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as (url, came):
        client = Client(url.replace("http://", "http://user:secret@"))
        await post(client)
        client.close()
    assert b"\r\nauthorization: Basic dXNlcjpzZWNyZXQ=\r\n" in came[0]


async def test_a_server_over_tls_answers_whom_its_certificate_convinces() -> None:
    authority = trustme.CA()
    served, trusting = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        client_context(authority),
    )
    authority.issue_cert("127.0.0.1").configure_cert(served)
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    async with answering(answer, tls=served) as (url, _):
        for context, status in ((trusting, 200), (ssl.create_default_context(), None)):
            client = Client(url, tls=context)
            response = await post(client)
            client.close()
            assert response.status == status
        assert "CERTIFICATE_VERIFY_FAILED" in (response.fault or "")
        assert not response.connected


async def test_a_connection_that_is_given_up_at_any_moment_of_its_opening_is_closed() -> None:
    async with answering() as (url, _):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always", ResourceWarning)
            for turns in range(20):
                exchange = Client(url).post(b"{}", lambda _: None)
                for _ in range(turns):
                    await asyncio.sleep(0)
                exchange.abandon()
                del exchange
                await asyncio.sleep(0.01)
            gc.collect()
    port = url.partition("/embed")[0].rpartition(":")[2]
    assert not [str(each.message) for each in found if f"raddr=('127.0.0.1', {port})" in str(each)]
