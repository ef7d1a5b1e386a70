"""Leases are looked at when they may run out, and at no other time."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from controlplane.fleet import (
    Command,
    DeleteReplica,
    Drain,
    Fleet,
    Heartbeat,
    LeaseTimes,
    PutPool,
    Refused,
    Replica,
    Undrain,
)
from tests.fleet.fleets import after, applied, differences, expired, pool_settings, put

IDS = "abcde"
POOLS = {"p": 10_000, "q": 10_001}
Action = type[Heartbeat | Drain | Undrain | DeleteReplica]
ACTIONS: tuple[Action, ...] = (Heartbeat, Drain, Undrain, DeleteReplica)


def noted(times: LeaseTimes, before: Fleet, fleet: Fleet) -> Fleet:
    for found in differences(before, fleet):
        if isinstance(found.after, Replica):
            times.note(found.pool, found.after)
    return fleet


def asked(draw: st.DrawFn) -> Command:
    pool, id_ = draw(st.sampled_from(sorted(POOLS))), draw(st.sampled_from(IDS))
    if draw(st.booleans()):
        ttl = draw(st.sampled_from([None, "1s", "5s", "30s"]))
        return put(id_, ord(id_), pool=pool, **({"ttl": ttl} if ttl else {}))
    return draw(st.sampled_from(ACTIONS))(pool, id_)


@st.composite
def lives(draw: st.DrawFn) -> list[Command | float]:
    """Commands, and seconds that pass."""
    steps = range(draw(st.integers(0, 40)))
    return [draw(st.floats(0, 12)) if draw(st.booleans()) else asked(draw) for _ in steps]


def looks(until: float, now: float) -> Iterator[float]:
    while now < until:
        now = min(now + 0.5, until)
        yield now


@given(lives())
def test_whoever_looks_only_where_something_is_due_sees_what_all_looking_sees(
    life: list[Command | float],
) -> None:
    times, now = LeaseTimes(), 0.0
    fleet = after(*(PutPool(name, pool_settings(port)) for name, port in POOLS.items()))
    for step in life:
        if isinstance(step, float):
            for at in looks(now + step, now):
                now, everywhere = at, expired(fleet, at)
                fleet = noted(times, fleet, expired(fleet, now, times.due(fleet, now)))
                assert fleet == everywhere
        else:
            try:
                fleet = noted(times, fleet, applied(fleet, step, now))
            except Refused:
                continue


def test_a_lease_that_is_renewed_is_looked_at_once_in_its_length() -> None:
    fleet = after(PutPool("p", pool_settings()))
    fleet = after(*(put(id_, ord(id_), ttl="30s") for id_ in IDS), fleet=fleet)
    times, looked = LeaseTimes(), 0
    noted(times, Fleet(), fleet)
    for second in range(1, 121):
        if second % 10 == 0:
            fleet = after(*(Heartbeat("p", id_) for id_ in IDS), fleet=fleet, now=second)
        before = list(times._times)
        assert times.due(fleet, second) == frozenset()
        looked += times._times != before
    assert looked <= 120 / 20


def test_what_is_gone_is_forgotten() -> None:
    fleet = after(PutPool("p", pool_settings()), put("a", 1, ttl="30s"))
    times = LeaseTimes()
    noted(times, Fleet(), fleet)
    assert times.due(after(DeleteReplica("p", "a"), fleet=fleet), 30.0) == frozenset()
    assert (times._times, times._noted) == ([], {})
