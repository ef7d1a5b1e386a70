"""The benchmark of the registry: its fleets, its client, its arithmetic, and that it plays."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from benchmarks.registry import play, report
from benchmarks.registry.api import Connection, all_asked, connections
from benchmarks.registry.commits import commits
from benchmarks.registry.fleet import Layout
from benchmarks.registry.play import Plan, Stage
from benchmarks.registry.report import Round
from benchmarks.xds.orders import process
from controlplane.config import Config, ReplicaEntry, validated
from tests.processes import DEADLINE

FOUND = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_replicas_are_dealt_out_evenly_and_each_has_an_address_of_its_own() -> None:
    layout = Layout(pools=4, replicas=1_000)
    batches = layout.batches(port=9000, most=100)
    assert [(pool, len(batch)) for pool, batch in batches] == [
        (f"pool-{number:03}", size) for number in range(4) for size in (100, 100, 50)
    ]
    entries = [validated(ReplicaEntry, item) for _, batch in batches for item in batch]
    assert (
        len({entry.id for entry in entries}) == len({entry.address for entry in entries}) == 1_000
    )
    assert all(entry.address.is_loopback for entry in entries)
    placed = [layout.pool_of(number) for number in range(1_000)]
    assert placed == [pool for pool, batch in batches for _ in batch]


def test_the_config_of_a_fleet_is_one_that_is_taken() -> None:
    config = validated(Config, Layout(pools=3, replicas=9).config(8080, 18000))
    assert [pool.name for pool in config.pools] == ["pool-000", "pool-001", "pool-002"]
    assert (config.admin.address.port, config.xds.address.port) == (8080, 18000)


@asynccontextmanager
async def answering(answer: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """A server that answers each request with what its first line comes to; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            while (line := await reader.readline()) != b"\r\n":
                assert line
            writer.write(answer(head))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_every_request_is_sent_once_and_in_its_order() -> None:
    seen = list[bytes]()

    def answer(head: bytes) -> bytes:
        seen.append(head)
        return FOUND

    requests = [("POST", f"/{number}", None) for number in range(20)]
    async with answering(answer) as port, connections(port, 1) as open_ones:
        took = await all_asked(open_ones, requests)
    assert seen == [f"POST /{number} HTTP/1.1\r\n".encode() for number in range(20)]
    assert len(took) == 20


async def test_with_a_rate_a_request_is_late_from_when_it_should_have_begun() -> None:
    class Slow(Connection):
        async def ask(self, request: object) -> float:
            await asyncio.sleep(0.05)
            return 50.0

    one = Slow(None, None)  # type: ignore[arg-type]
    took = await all_asked([one], [("GET", "/", None)] * 4, rate=1_000.0)
    # One connection, so each waits for the one before it.
    assert took == sorted(took)
    assert took[3] > 190.0


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 409 Conflict\r\nContent-Length: 4\r\n\r\nbusy", "GET /x: .*409.*busy"),
        (b"", "GET /x: the connection was closed"),
    ],
)
async def test_what_is_no_success_ends_the_benchmark_and_is_said(answer: bytes, says: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connections(port, 1) as (connection,):
            with pytest.raises(RuntimeError, match=f"(?si){says}"):
                await connection.ask(("GET", "/x", None))


def test_rows_of_bare_sqlite_are_those_that_the_store_writes(tmp_path: Path) -> None:
    from controlplane.store.database import Database

    assert len(commits(tmp_path, count=3, together=5)) == 3
    database = Database(tmp_path / "bare-5.db")
    found = database.load()
    database.close()
    assert (len(found.registered.replicas), found.complaint) == (15, None)


def fleet(cpu: float, latency: float) -> dict[str, float]:
    return {
        "one change: CPU, ms": cpu,
        "one change: an Envoy has it, ms": latency,
        "one joins: CPU, ms": 2 * cpu,
    }


def test_what_a_change_costs_is_compared_with_the_small_fleet_by_medians() -> None:
    rounds: list[Round] = [
        {"bare sqlite3": {"rows": 5.0}, "few": fleet(10, 20), "many": fleet(cpu, 10)}
        for cpu in (12.0, 900.0, 15.0)
    ]
    text = report.table(rounds)
    assert "CPU of one change, to that of few: 1.50 × many." in text
    assert "latency of one change, to that of few: 0.50 × many." in text
    assert "CPU of one that joins, to that of few: 1.50 × many." in text
    assert "| one change: CPU, ms | 10 (10–10) | 15 (12–900) |" in text
    assert "| rows | 5 (5–5) |" in text


def test_a_figure_that_a_fleet_does_not_have_is_left_empty() -> None:
    rounds: list[Round] = [{"few": fleet(1, 1), "many": {**fleet(1, 1), "heartbeats": 3.0}}]
    assert "| heartbeats |  | 3 (3–3) |" in report.table(rounds)


def test_the_sheet_has_a_line_for_each_value() -> None:
    rounds: list[Round] = [{"few": {"a": 1.5, "b": 2.0}}, {"few": {"a": 3.0}}]
    assert report.sheet(rounds).splitlines() == [
        "repetition,of,figure,value",
        "1,few,a,1.5",
        "1,few,b,2.0",
        "2,few,a,3.0",
    ]


async def test_all_of_it_plays_with_a_small_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whether it is at rest matters where it is measured.
    for name, seconds in (("QUIET", 1.0), ("WINDOW", 0.2), ("UNREST", 0.2)):
        monkeypatch.setattr(play, name, seconds)
    plan = Plan(40, 2, 4, changes=2, joining=0.5, beating=0.05, commits=2, repetitions=1)
    async with process(sys.executable, "-m", "benchmarks.registry.replicas") as replicas:
        port = (await replicas.answer())["port"]
        stage = Stage(plan, port, tmp_path, lambda _: None, random.Random(1))  # noqa: S311 - which replica changes
        found: Round = {"bare sqlite3": stage.bare(), "one by one": await stage.one_by_one()}
        figures = await stage.fleet(plan.layouts[1])
        found["40 replicas in 2 pools"] = figures
    assert "40 replicas in 2 pools" in report.table([found])
    assert figures["restart: ready after, s"] > 0
    assert 0 < figures["restart: CPU, s"] < DEADLINE
    assert figures["restart: RSS, MB"] > 10
    for each in found.values():
        assert all(value >= 0 for name, value in each.items() if "CPU, ms" not in name)
    assert figures["heartbeats per second"] > 0
    assert figures["one change: kB to an Envoy"] > 0
