"""The autoscaler of Kubernetes as it is, and runs that are the same each time."""

import numpy as np
import pytest

from benchmarks.scaling.curves import Point, late_at
from benchmarks.scaling.draws import KINDS, SECONDS, draw
from benchmarks.scaling.fleet import CURVE, FULL, Fleet
from benchmarks.scaling.hpa import Hpa, Pods, by_average_value, by_utilization
from benchmarks.scaling.loads import Requests, Shape
from benchmarks.scaling.play import play
from benchmarks.scaling.scalers import SCALERS, Scaler
from controlplane.balancing.columns import Floats

STEADY = Shape("steady", 1200.0, lambda _: 2.0)


@pytest.mark.parametrize(
    ("usages", "unready", "expected"),
    [
        ([0.9] * 10, 0, 13),
        ([0.75] * 10, 0, 10),
        ([0.35] * 10, 0, 5),
        # What is not ready counts as idle where more would be wanted.
        ([1.0] * 10, 3, 13),
        ([1.0] * 10, 1, 15),
        ([1.0] * 10, 5, 15),
        ([0.35] * 10, 5, 5),
        ([], 3, 3),
    ],
)
def test_replicas_by_cpu(usages: list[float], unready: int, expected: int) -> None:
    assert by_utilization(Pods(len(usages) + unready, usages, unready), 0.7) == expected


@pytest.mark.parametrize(("total", "expected"), [(54.0, 10), (56.0, 12), (20.0, 4), (0.0, 0)])
def test_replicas_by_a_metric_with_a_tolerance_of_a_tenth(total: float, expected: int) -> None:
    assert by_average_value(10, total, 5.0) == expected


def test_fewer_pods_only_after_five_minutes_and_no_more_than_twice_as_many_at_once() -> None:
    asked = iter([30, 2, 2, 2])
    found = Hpa(lambda: next(asked))
    assert found.desired(5, 0.0) == 10
    assert found.desired(10, 15.0) == 10
    assert found.desired(10, 300.0) == 10
    assert found.desired(10, 316.0) == 2


def test_a_replica_takes_what_waits_up_to_a_batch() -> None:
    requests = Requests(_floats(0.0, 1.0, 1.0, 1.0), _floats(100.0, 1000.0, 1000.0, 1000.0))
    fleet = Fleet(requests, seed=1, cold_start=60.0, begin=1)
    fleet.replicas[0].curve = CURVE
    fleet.go_on(1.0)
    fleet.go_on(10.0)
    first, second, third, fourth = fleet.done
    assert first == pytest.approx(CURVE.seconds(100))
    assert second == third == pytest.approx(1.0 + CURVE.seconds(2000))
    assert fourth == pytest.approx(second + CURVE.seconds(1000))
    assert fleet.hours == pytest.approx(10 / 3600)


def test_who_has_not_started_serves_nothing_and_goes_first() -> None:
    fleet = Fleet(Requests(_floats(), _floats()), seed=1, cold_start=60.0, begin=1)
    fleet.scale(3)
    fleet.go_on(10.0)
    assert [item.id for item in fleet.ready] == ["r1"]
    fleet.scale(1)
    assert [replica.id for replica in fleet.replicas] == ["r1"]


@pytest.mark.parametrize("scaler", SCALERS, ids=lambda item: item.name)
def test_the_same_seed_gives_the_same_run(scaler: Scaler) -> None:
    one, other = (play(scaler, STEADY, 1, 1.0, 60.0) for _ in range(2))
    assert one == other
    assert one.hours > 0


def test_a_steady_load_is_carried_without_a_late_request() -> None:
    (ours,) = (item for item in SCALERS if item.name == "Plimsoll")
    found = play(ours, STEADY, 1, 1.0, 60.0)
    assert found.minutes == 0
    assert found.most <= 4
    assert FULL > 2_700


@pytest.mark.parametrize("name", KINDS)
def test_a_seed_draws_the_same_load_each_time_and_another_seed_another(name: str) -> None:
    def rates(seed: int) -> tuple[list[float], float, float]:
        shape, _, times, cold_start = draw(KINDS[name], seed)
        points = [
            (shape.searches(at) + shape.bulk(at)) / shape.pace(at)
            for at in np.arange(0, SECONDS, 5)
        ]
        return points, times, cold_start

    assert rates(1) == rates(1)
    assert all(one != other for one, other in zip(rates(1), rates(2), strict=True))
    assert min(rates(1)[0]) > 0
    assert max(rates(1)[0]) < 20


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (9.0, None),
        (10.0, 0.04),
        (12.5, 0.03),
        (15.0, 0.02),
        # More replica-hours with more late requests: nobody would choose that point.
        (17.5, 0.02),
        (25.0, 0.01),
        (99.0, 0.0),
    ],
)
def test_a_curve_says_what_is_late_at_any_number_of_replica_hours(
    hours: float, expected: float | None
) -> None:
    points = [(20.0, 0.03), (10.0, 0.04), (15.0, 0.02), (20.0, 0.02), (30.0, 0.0)]
    found = late_at([Point(*point) for point in points], hours)
    assert found == (None if expected is None else pytest.approx(expected))


def _floats(*values: float) -> Floats:
    return np.asarray(values, dtype=float)
