import pytest

from benchmarks.balance.replicas import Orca
from benchmarks.worlds.slots import Slots
from tests.benchmarks.clock import Clock


class Watched:
    """A replica that takes a second for a token."""

    def __init__(self, slots: int = 1) -> None:
        self.clock = Clock()
        self.replica = Slots(slots, 1.0, self.clock.call_at)
        self.orca = Orca(self.replica, slots)

    def admit(self, tokens: int) -> None:
        self.replica.admit(self.clock.now, (tokens,), lambda _: None)


def test_orca_says_how_busy_a_replica_is_and_what_it_served() -> None:
    watched = Watched(slots=2)
    orca = watched.orca
    assert orca.header(0.0) == ""
    for _ in range(4):
        watched.admit(1)
    watched.clock.wind(4)
    # Two slots of two were busy for two of four seconds, and four requests were served.
    assert orca.header(4.0) == "TEXT application_utilization=0.5000,rps_fractional=1.000,eps=0.000"


def test_orca_forgets_what_is_long_ago() -> None:
    watched = Watched()
    orca = watched.orca
    orca.header(0.0)
    watched.admit(1)
    watched.clock.wind(1)
    orca.header(1.0)
    said = orca.header(40.0).partition("application_utilization=")[2].partition(",")[0]
    assert float(said) == pytest.approx(0.0, abs=0.001)
