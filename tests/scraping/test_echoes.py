import pytest

from controlplane.config import Address
from controlplane.scraping.scrape import Getter, ScrapeError, scrape
from controlplane.telemetry import ExpositionError, read
from tests.processes import DEADLINE
from tests.scraping.says import OK, Say, hang_up, in_pieces, ok, saying
from tests.telemetry.texts import TEI, tei

WORD = "hunter2"

BODIES = {
    "text": WORD,
    "line": f"{WORD}\n",
    "document": f'{{"{WORD}": "{WORD}"}}\n',
    "second line": f"up 1\n{WORD} {WORD}\n",
    "type": f"# TYPE te_request_duration {WORD}\n{tei().splitlines()[1]}\n",
    "value": f"te_queue_size {WORD}\n",
    "infinite": f'te_request_duration_sum{{a="{WORD}"}} +Inf\n',
    "exemplar": f"te_queue_size 1 2 3 {WORD}\n",
    "label twice": f'te_queue_size{{{WORD}="{WORD}",{WORD}="1"}} 1\n',
    "labels": f"te_queue_size{{{WORD}}} 1\n",
    "bound": f'te_request_duration_bucket{{le="{WORD}"}} 1\n',
    "long": f'te_queue_size{{a="{WORD * 400}"}} 1\n',
    "buckets": f'te_request_duration_bucket{{a="{WORD}",le="1"}} 1\n',
    "no end": f"te_queue_size 1\n# {WORD}",
}


async def failure(getter: Getter, address: Address) -> str:
    """Why a scrape fails, as the API shows it."""
    try:
        text, at = await scrape(getter, address, "/metrics", DEADLINE)
        read(text, TEI, at)
    except (ScrapeError, ExpositionError) as error:
        return str(error)
    pytest.fail("it could be read")


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_why_a_scrape_failed_repeats_nothing_of_a_body(getter: Getter, body: str) -> None:
    async with saying(ok(body.encode())) as server:
        assert WORD not in await failure(getter, server.address)


@pytest.mark.parametrize(
    "say",
    [
        f"SSH-2.0-{WORD}\r\n".encode(),
        f"-ERR {WORD}\r\n".encode(),
        f"HTTP/1.1 403 {WORD}\r\nX: {WORD}\r\n\r\n{WORD}".encode(),
        f"HTTP/1.1 {WORD}\r\n\r\n".encode(),
        OK + f"Content-Length: {WORD}\r\n\r\n".encode(),
        in_pieces(OK + f"Transfer-Encoding: {WORD}\r\n\r\n".encode(), b"x", ends=True),
        OK + f"Transfer-Encoding: chunked\r\n\r\n{WORD}\r\n".encode(),
        OK + f"X{WORD}\x00: 1\r\n\r\n".encode(),
        OK + f"Content-Encoding: {WORD}\r\nContent-Length: 0\r\n\r\n".encode(),
        ok(b"\xff" + WORD.encode()),
        in_pieces(OK + f"Content-Length: 99\r\n\r\n{WORD}".encode(), ends=True),
        hang_up,
    ],
    ids=[
        *("banner", "error", "status", "status line", "length", "encoding", "chunk", "header"),
        *("compressed", "bytes", "cut", "nothing"),
    ],
)
async def test_why_a_scrape_failed_repeats_nothing_of_what_is_no_exposition(
    getter: Getter, say: bytes | Say
) -> None:
    async with saying(say, say) as server:
        assert WORD not in await failure(getter, server.address)


@pytest.mark.parametrize("name", ["0xa9fea9fe", "0xa9.0xfe.0xa9.0xfe", "0xc00000c0"])
async def test_a_name_that_leads_to_metadata_is_not_connected_to(getter: Getter, name: str) -> None:
    # The resolver of the system reads these as the numbers that they are.
    with pytest.raises(ScrapeError, match="metadata"):
        await scrape(getter, Address(name, 80), "/metrics", 1.0)
