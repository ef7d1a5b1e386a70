"""Batches, memory and pace around the computing, with time under the test's control."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from embedding_replica.batching import OverloadedError
from embedding_replica.engine import Embedded, Engine, NotServingError, Phase
from embedding_replica.memory import Memory, OutOfMemoryError
from embedding_replica.speed import hold
from embedding_replica.tokens import Batch, Inputs

if TYPE_CHECKING:
    from tests.examples.replica.conftest import Gate, Until


class Time:
    """A clock that moves only when someone sleeps or computes."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Encoder:
    """Takes a second to tokenise, two to embed; a batch takes as many bytes as it has texts."""

    weights_bytes = 10

    def __init__(self, time: Time | None = None) -> None:
        self.time = time or Time()

    def tokenise(self, inputs: Inputs) -> Batch:
        self.time.now += 1
        return Batch(np.ones((len(inputs), 1), np.int64), np.ones((len(inputs), 1), np.bool_))

    def activation_bytes(self, batch: Batch) -> int:
        return len(batch.ids)

    def embed(self, batch: Batch) -> NDArray[np.float32]:
        self.time.now += 2
        return np.ones((len(batch.ids), 1), np.float32)


@pytest.mark.parametrize(("speed", "seconds"), [(1, 0), (0.5, 3), (0.1, 27)])
def test_a_batch_is_held_until_slower_hardware_would_be_done(speed: float, seconds: float) -> None:
    assert hold(3, speed) == pytest.approx(seconds)


async def test_a_slower_replica_takes_longer_in_proportion() -> None:
    time = Time()
    engine = Engine(speed=1, clock=time.clock, sleep=time.sleep)
    await engine.load(lambda: Encoder(time))
    assert (await engine.embed(["a"])).inferred == pytest.approx((2,))
    engine.speed = 0.1
    assert (await engine.embed(["a"])).inferred == pytest.approx((20,))
    engine.close()


async def test_loading_takes_as_long_as_was_asked_for() -> None:
    time = Time()
    engine = Engine(clock=time.clock, sleep=time.sleep)
    await engine.load(lambda: Encoder(time), seconds=60)
    assert time.now >= 60
    engine.close()


async def test_it_is_ready_only_after_one_embedding() -> None:
    engine = Engine()
    phases = []

    class Watched(Encoder):
        def embed(self, batch: Batch) -> NDArray[np.float32]:
            phases.append(engine.phase)
            return super().embed(batch)

    await engine.load(Watched)
    assert phases == [Phase.LOADING]
    assert engine.phase is Phase.READY
    engine.close()


class Batches:
    """An engine whose first batch, of one text, stays in work until the gate is opened."""

    def __init__(self, gate: Gate, until: Until) -> None:
        self.gate, self.until = gate, until
        self.engine = Engine(budget=3, permits=6, memory=Memory(14), sleep=gate.sleep)
        self.seen: list[int] = []
        self.engine.on_batch = lambda texts, _tokens: self.seen.append(texts)
        self.requests: list[asyncio.Task[Embedded]] = []

    async def ask(self, texts: int, waiting: int) -> asyncio.Task[Embedded]:
        """Ask for embeddings and wait until so many texts wait."""
        asked = asyncio.create_task(self.engine.embed(["a"] * texts))
        self.requests.append(asked)
        await self.until(lambda: self.engine.waiting == waiting and self.gate.asleep == 1)
        return asked

    async def finish(self) -> list[Embedded | BaseException]:
        self.gate.open()
        done = await asyncio.gather(*self.requests, return_exceptions=True)
        await self.until(lambda: self.seen[-1] == 0)
        return done


@pytest.fixture
async def batches(gate: Gate, until: Until) -> AsyncIterator[Batches]:
    stage = Batches(gate, until)
    await stage.engine.load(Encoder)
    gate.shut()
    await stage.ask(1, waiting=0)
    yield stage
    stage.engine.close()


async def test_what_waits_meanwhile_is_the_next_batch_whosever_it_is(batches: Batches) -> None:
    await batches.ask(1, waiting=1)
    await batches.ask(2, waiting=3)
    await batches.finish()
    assert batches.seen == [1, 3, 0]


async def test_a_request_that_exceeds_a_batch_is_computed_in_several(batches: Batches) -> None:
    await batches.ask(5, waiting=5)
    done = (await batches.finish())[1]
    assert isinstance(done, Embedded)
    assert (len(done.vectors), len(done.inferred)) == (5, 5)
    assert batches.seen == [1, 3, 2, 0]


async def test_texts_without_a_permit_are_turned_away_at_once(batches: Batches) -> None:
    await batches.ask(4, waiting=4)
    with pytest.raises(OverloadedError):
        await batches.engine.embed(["a"] * 2)
    await batches.ask(1, waiting=5)
    await batches.finish()
    await batches.engine.embed(["a"] * 6)


async def test_memory_that_a_batch_took_is_kept_for_the_next(batches: Batches) -> None:
    await batches.ask(3, waiting=3)
    await batches.finish()
    assert batches.engine.memory is not None
    assert (batches.engine.memory.live, batches.engine.memory.used) == (0, 13)


async def test_a_batch_out_of_memory_fails_all_who_are_in_it_and_no_other(
    batches: Batches,
) -> None:
    batches.engine.memory = Memory(12, weights=10, live=1, reserved=1)
    await batches.ask(1, waiting=1)
    await batches.ask(2, waiting=3)
    await batches.ask(1, waiting=4)
    ends = await batches.finish()
    assert [isinstance(end, OutOfMemoryError) for end in ends] == [False, True, True, False]


async def test_a_cancelled_request_leaves_the_queue(batches: Batches, until: Until) -> None:
    gone = await batches.ask(2, waiting=2)
    gone.cancel()
    await until(lambda: batches.engine.waiting == 0)
    await batches.finish()
    assert batches.seen == [1, 0]


async def test_a_cancelled_request_computes_on_and_the_next_batch_waits_for_it(
    batches: Batches,
) -> None:
    batches.requests[0].cancel()
    await batches.ask(1, waiting=1)
    _, second = await batches.finish()
    assert isinstance(second, Embedded)
    assert batches.seen == [1, 1, 0]


async def test_draining_lets_those_in_line_finish_and_takes_no_more(
    gate: Gate, until: Until
) -> None:
    engine = Engine(budget=1, sleep=gate.sleep)
    await engine.load(Encoder)
    gate.shut()
    accepted = [asyncio.create_task(engine.embed(["a"])) for _ in range(2)]
    await until(lambda: engine.waiting == 1)
    draining = asyncio.create_task(engine.drain())
    await until(lambda: engine.phase is Phase.DRAINING)
    with pytest.raises(NotServingError):
        await engine.embed(["a"])
    assert not draining.done()
    gate.open()
    await draining
    await asyncio.gather(*accepted)
    engine.close()
