"""Following events: typed, and over cuts, restarts and what was missed."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.schema import (
    Answer,
    MissedEvent,
    PartingEvent,
    PoolEvent,
    PoolList,
    ReplicaEvent,
    ReplicaNow,
)
from controlplane.client import (
    Client,
    ClientError,
    Event,
    UnauthorizedError,
    UnexpectedAnswerError,
    UnreachableError,
    events,
)
from controlplane.client.events import Reader
from tests.api.parted import go, living
from tests.api.served import POOL, Served, served
from tests.client.clients import client
from tests.plane.lives import SIZES
from tests.processes import DEADLINE

STREAM = (
    b': hello\n\nid: s-1\nevent: pool\ndata: {"pool": "m",\ndata: "change": "added",'
    b' "etag": null}\n\nevent: missed\ndata: {"detail": "\xc3\xbc"}\n\n'
    b"retry: 7\n\nid: s-2\r\nevent: new\r\ndata: {}\r\n\r\nid: s-3\nevent: half\ndata: {}"
)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_FIRST", 0.01)


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with served() as here:
        yield await here.filled()


async def soon(events: AsyncIterator[Event]) -> Event:
    async with asyncio.timeout(DEADLINE):
        return await anext(events)


def read(*pieces: bytes) -> list[Event]:
    reader = Reader()
    return [event for piece in pieces for event in reader.feed(piece)]


def test_events_are_read_as_the_standard_says() -> None:
    document = {"pool": "m", "change": "added", "etag": None}
    assert read(STREAM) == [
        Event("s-1", "pool", document, PoolEvent(pool="m", change="added", etag=None)),
        Event(None, "missed", {"detail": "ü"}, MissedEvent(detail="ü")),
        Event("s-2", "new", {}, Answer()),
    ]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_it_does_not_matter_in_which_pieces_they_come(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(edges)]
    assert read(*pieces) == read(STREAM)


@pytest.mark.parametrize("data", [b"[]", b"{", b'{"pool": 1, "change": "added"}'])
def test_an_event_that_cannot_be_read_is_an_error_of_its_own(data: bytes) -> None:
    with pytest.raises(UnexpectedAnswerError):
        read(b"event: pool\ndata: " + data + b"\n\n")


async def test_first_comes_the_state_and_then_each_change(api: Served) -> None:
    async with client(api) as here, aclosing(here.events()) as events:
        state = await soon(events)
        assert isinstance(state.what, PoolList)
        assert [(pool.name, pool.counts.total) for pool in state.what.pools] == [("m", 2)]
        await here.drain("m", "a")
        await here.delete_replica("m", "b")
        await here.put_pool("m", POOL | {"model": "other"})
        drained, removed, changed = [(await soon(events)).what for _ in range(3)]
    assert isinstance(drained, ReplicaNow)
    assert (drained.pool, drained.id, drained.change) == ("m", "a", "changed")
    assert drained.draining == "operator"
    assert isinstance(removed, ReplicaEvent)
    assert not isinstance(removed, ReplicaNow)
    assert (removed.id, removed.change) == ("b", "removed")
    assert isinstance(changed, PoolEvent)
    assert (changed.pool, changed.change) == ("m", "changed")
    assert changed.etag is not None


async def test_it_goes_on_after_the_event_that_is_named(api: Served) -> None:
    async with client(api) as here:
        async with aclosing(here.events()) as events:
            await soon(events)
            await here.drain("m", "a")
            known = await soon(events)
        await here.undrain("m", "a")
        async with aclosing(here.events(after=known.id)) as events:
            event = await soon(events)
    assert isinstance(event.what, ReplicaNow)
    assert event.what.draining is None


class Cutting:
    """Passes bytes on to a server, and can hang up."""

    def __init__(self, api: Served) -> None:
        self._api = api
        self._writers: list[asyncio.StreamWriter] = []
        self.seen = b""
        self.refuses = False
        self.refused = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            self.refused += 1
            writer.close()
            return
        there = await asyncio.open_connection(self._api.address.host, self._api.address.port)
        self._writers += [writer, there[1]]
        await asyncio.gather(self._copy(reader, there[1]), self._copy(there[0], writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.seen += data
            writer.write(data)
        writer.close()

    async def tried(self, times: int) -> bool:
        """Whether it was refused so often."""
        return self.refused >= times

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


async def test_after_a_cut_it_goes_on_where_it_was_and_nothing_is_lost_or_told_twice(
    api: Served,
) -> None:
    way, cuts = Cutting(api), list[ClientError]()
    async with await asyncio.start_server(way, "127.0.0.1", 0) as server, client(api) as beside:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Client(url) as here, aclosing(here.events(on_cut=cuts.append)) as events:
            assert isinstance((await soon(events)).what, PoolList)
            await beside.drain("m", "a")
            first = await soon(events)
            way.refuses = True
            way.cut()
            waiting = asyncio.ensure_future(soon(events))
            async with asyncio.timeout(DEADLINE):
                while len(cuts) < 3:
                    await asyncio.sleep(0.01)
            await beside.undrain("m", "a")
            await beside.drain("m", "b")
            way.refuses = False
            second, third = await waiting, await soon(events)
    assert f"Last-Event-ID: {first.id}".encode() in way.seen
    told = [(each.what.id, each.what.draining) for each in (first, second, third)]  # type: ignore[attr-defined]
    assert told == [("a", "operator"), ("a", None), ("b", "operator")]
    assert all(isinstance(item, UnreachableError) for item in cuts)


async def test_after_a_restart_it_says_that_something_was_missed_and_shows_the_state(
    api: Served,
) -> None:
    async with client(api) as here, aclosing(here.events(after="another-7")) as events:
        missed, state = await soon(events), await soon(events)
    assert isinstance(missed.what, MissedEvent)
    assert "missed" in missed.what.detail
    assert isinstance(state.what, PoolList)


async def test_when_nobody_is_there_at_first_it_does_not_wait_for_somebody() -> None:
    async with served() as gone:
        url = f"http://{gone.address}"
    async with Client(url) as here:
        with pytest.raises(UnreachableError):
            await soon(here.events())


async def test_one_whose_token_is_taken_away_meanwhile_is_told_so(api: Served) -> None:
    way = Cutting(api)
    async with await asyncio.start_server(way, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Client(url) as here, aclosing(here.events()) as events:
            await soon(events)
            async with served(token="another") as guarded:  # noqa: S106 - of this test alone
                way._api = guarded
                way.cut()
                with pytest.raises(UnauthorizedError):
                    await soon(events)


async def test_that_a_pools_requests_are_parted_is_told_with_why() -> None:
    async with served() as api:
        life = living(api)
        async with client(api) as here, aclosing(here.events()) as events:
            assert isinstance((await soon(events)).what, PoolList)
            go(api, life, 60, *SIZES)
            while not isinstance(event := (await soon(events)).what, PartingEvent):
                pass
    assert (event.pool, event.change) == ("m", "begun")
    assert event.classes == {"bulk": 2, "search": 1}
    assert event.reasons[0].startswith("Class search (requests below ")
