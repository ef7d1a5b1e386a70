"""A slot waits while the machine is busy with others, and not for ever."""

from benchmarks.machine import PATIENCE, PAUSE, SPIN, STILL, longest_gap, until_quiet


class Machine:
    """Cores that are away for so long at each look, and a sleep that counts."""

    def __init__(self, *gaps: float) -> None:
        self.gaps = gaps
        self.looks = 0
        self.slept = 0.0
        self.said: list[str] = []

    async def gap(self) -> float:
        self.looks += 1
        return self.gaps[min(self.looks, len(self.gaps)) - 1]

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds

    async def wait(self) -> None:
        await until_quiet(self.said.append, gap=self.gap, sleep=self.sleep)


async def test_a_quiet_machine_is_not_waited_for() -> None:
    machine = Machine(STILL)
    await machine.wait()
    assert (machine.looks, machine.slept, machine.said) == (1, 0.0, [])


async def test_a_slot_waits_until_every_core_is_there_again() -> None:
    machine = Machine(0.2, 0.016, 0.001)
    await machine.wait()
    assert (machine.looks, machine.slept) == (3, 2 * PAUSE)
    assert machine.said == ["  waits: something else had a core for 200 ms"]


async def test_a_machine_that_is_never_quiet_is_measured_as_it_is() -> None:
    machine = Machine(0.2)
    await machine.wait()
    assert PATIENCE <= machine.slept + (machine.looks - 1) * SPIN < PATIENCE + PAUSE + SPIN


async def test_a_look_says_for_how_long_a_core_was_away() -> None:
    assert 0 < await longest_gap() < SPIN
