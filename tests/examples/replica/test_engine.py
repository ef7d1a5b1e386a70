"""Slots, memory and pace around the computing, with time under the test's control."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from embedding_replica.engine import Engine, NotServingError, Phase
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
def test_a_slot_is_held_until_slower_hardware_would_be_done(speed: float, seconds: float) -> None:
    assert hold(3, speed) == pytest.approx(seconds)


async def test_a_slower_replica_takes_longer_in_proportion() -> None:
    time = Time()
    engine = Engine(speed=1, clock=time.clock, sleep=time.sleep)
    await engine.load(lambda: Encoder(time))
    assert (await engine.embed(["a"])).inferred == pytest.approx(2)
    engine.speed = 0.1
    done = await engine.embed(["a"])
    assert done.tokenised + done.inferred == pytest.approx(30)
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


async def test_requests_wait_for_a_slot_in_the_order_they_came(gate: Gate, until: Until) -> None:
    engine = Engine(slots=2, sleep=gate.sleep)
    await engine.load(Encoder)
    gate.shut()
    finished = []

    async def request(name: int) -> None:
        await engine.embed(["a"])
        finished.append(name)

    tasks = [asyncio.create_task(request(name)) for name in range(6)]
    await until(lambda: gate.asleep == 2 and engine.waiting == 4)
    gate.open()
    await asyncio.gather(*tasks)
    assert sorted(finished[:2]) == [0, 1]
    assert sorted(finished[2:4]) == [2, 3]
    engine.close()


async def test_a_batch_holds_its_memory_until_it_ends(gate: Gate, until: Until) -> None:
    engine = Engine(slots=2, memory=Memory(14), sleep=gate.sleep)
    await engine.load(Encoder)
    gate.shut()
    first = asyncio.create_task(engine.embed(["a"] * 3))
    await until(lambda: gate.asleep == 1)
    with pytest.raises(OutOfMemoryError):
        await engine.embed(["a"] * 2)
    gate.open()
    await first
    await engine.embed(["a"] * 4)
    assert engine.memory is not None
    assert (engine.memory.live, engine.memory.used) == (0, 14)
    engine.close()


async def test_a_request_out_of_memory_gives_its_slot_back() -> None:
    engine = Engine(memory=Memory(11))
    await engine.load(Encoder)
    for _ in range(3):
        with pytest.raises(OutOfMemoryError):
            await engine.embed(["a", "b"])
    assert (await engine.embed(["a"])).tokens == 1
    engine.close()


async def test_a_cancelled_request_keeps_its_slot_while_its_thread_computes(
    gate: Gate, until: Until
) -> None:
    engine = Engine(sleep=gate.sleep)
    await engine.load(Encoder)
    gate.shut()
    first = asyncio.create_task(engine.embed(["a"]))
    await until(lambda: gate.asleep == 1)
    first.cancel()
    second = asyncio.create_task(engine.embed(["a"]))
    await until(lambda: engine.waiting == 1)
    assert gate.asleep == 1
    gate.open()
    await second
    assert first.cancelled()
    engine.close()


async def test_draining_lets_those_in_line_finish_and_takes_no_more(
    gate: Gate, until: Until
) -> None:
    engine = Engine(sleep=gate.sleep)
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
