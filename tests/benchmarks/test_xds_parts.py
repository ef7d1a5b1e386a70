"""The benchmark's own arithmetic: what changes, who is told, what others took, what is said."""

import pytest

from benchmarks.figures import number
from benchmarks.machine import busy_ticks
from benchmarks.xds import endurance, fan_out, growth, peers
from benchmarks.xds.endurance import Endurance
from benchmarks.xds.fan_out import Round
from benchmarks.xds.fleet import ChangingCatalog, pool_name
from benchmarks.xds.growth import Row, Size
from benchmarks.xds.stage import Held, Measured, Push
from controlplane.resources.resource import ENDPOINT, Resource
from controlplane.resources.views import View


def endpoints(catalog: ChangingCatalog, pool: int) -> Resource:
    found = catalog.newest.view(View()).get(ENDPOINT, pool_name(pool))
    assert found is not None
    return found


def test_a_change_is_of_the_pools_named_and_of_no_size() -> None:
    catalog = ChangingCatalog(pools=2, replicas=8)
    before = [endpoints(catalog, pool) for pool in (0, 1)]
    catalog.change([1])
    after = [endpoints(catalog, pool) for pool in (0, 1)]
    assert after[0] is before[0]
    assert after[1].version != before[1].version
    assert len(after[1].framed) == len(before[1].framed)


@pytest.mark.parametrize("streams", [7, 10, 25])
def test_every_stream_that_wants_one_pool_is_told_of_that_one(streams: int) -> None:
    size = Size(all_pools=False, pools=10, streams=streams)
    told = [sum(number % 10 == pool for number in range(streams)) for pool in range(10)]
    assert [size.subscribers(pool) for pool in range(10)] == told


def test_only_pools_that_somebody_asks_for_are_changed() -> None:
    assert all(answers for _, answers in Size(all_pools=False, pools=1000, streams=4).changes)


def test_what_no_machine_would_finish_is_left_out() -> None:
    played = [size for group in growth.sizes((100, 4000), (10, 1000)) for size in group]
    assert Size(all_pools=True, pools=1000, streams=100) in played
    assert Size(all_pools=True, pools=1000, streams=4000) not in played
    assert Size(all_pools=False, pools=1000, streams=4000) in played


def test_waiting_for_a_disk_is_no_work_and_a_stolen_processor_is() -> None:
    assert busy_ticks("cpu  1 2 4 1000 2000 8 16 32 0 0\ncpu0 9 9 9") == 63


def measured(wall: float, cpu: float, others: float = 0.0) -> Measured:
    return Measured((Push(0.0, 0.0, wall, cpu, 0),), {"others": others})


def test_the_ratio_is_of_the_medians_of_one_round_and_says_whether_it_is_wanted() -> None:
    rounds = [
        Round({"ours": measured(0.2, 0.3), "bare": measured(0.1, 0.1)}),
        Round({"ours": measured(0.1, 0.4), "bare": measured(0.1, 0.1, others=0.5)}),
    ]
    said = fan_out.table(rounds, fan_out.BARE)
    assert "wall 1.50 × (1.00–2.00), wanted ≤ 1.5: met" in said
    assert "CPU 3.50 × (3.00–4.00), wanted ≤ 1.5: missed" in said
    assert "Disturbed by others: 1 of 2 rounds." in said


def test_ours_is_compared_with_each_peer_at_the_same_size() -> None:
    cells = [
        peers.Cell(peers.SIZES[0], name, [measured(wall, cpu)], memory)
        for name, wall, cpu, memory in (
            ("ours", 0.3, 0.2, 30_000.0),
            ("linear", 0.1, 0.4, 60_000.0),
            ("snapshot", 0.2, 0.2, 10_000.0),
        )
    ]
    lines = peers.table(cells).splitlines()[4:]
    assert [line.rsplit("|", 4)[1:4] for line in lines] == [
        [" – ", " – ", " – "],
        [" 3.00 × ", " 0.50 × ", " 0.50 × "],
        [" 1.50 × ", " 1.00 × ", " 3.00 × "],
    ]
    assert "Left out: there is no Go" in peers.table([])


def row(pools: int, cpu: float, kilobytes: float) -> Row:
    size = Size(all_pools=False, pools=pools, streams=1000)
    pushes = (Push(0.0, 0.0, 0.1, cpu, 0),) * len(size.changes)
    return Row(size, Measured(pushes, {"others": 0.0}), 1000 * kilobytes)


def test_growth_is_compared_between_the_smallest_and_the_largest_fleet() -> None:
    said = growth.table([row(10, 0.1, 40), row(1000, 0.002, 101)])
    assert "1000 pools to 10: 0.02 × with 0.01 × as many streams told." in said
    assert "at most 101 kB, wanted ≤ 100 kB: missed" in said


@pytest.mark.parametrize(
    ("last", "verdict"),
    [
        (Held(80_000_000, 10, 4), "met"),
        (Held(80_000_000, 11, 4), "missed"),
        (Held(80_000_000, 10, 5), "missed"),
        (Held(83_000_000, 10, 4), "missed"),
    ],
)
def test_what_stays_behind_is_missed(last: Held, verdict: str) -> None:
    first = Held(80_000_000, 10, 4)
    done = Endurance((first, first, last), 100, (first, first, first, first), 10)
    cycles = next(line for line in endurance.table(done).splitlines() if line.startswith("Cycles"))
    assert cycles.endswith(f": {verdict}.")


def test_a_figure_has_three_digits_that_say_something() -> None:
    assert [number(value) for value in (0.01234, 12.34, 1234.5)] == ["0.0123", "12.3", "1234"]
