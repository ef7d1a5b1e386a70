"""How requests were answered, as clients saw it, and the objective that they are held against."""

import pytest

from controlplane.config import PoolSettings, load_config, validated
from controlplane.fleet import PutPool
from controlplane.plane import Plane
from controlplane.telemetry.sizes import BOUNDS, Answers, Sample
from tests.metrics.exposed import everything, values
from tests.metrics.test_fleet import plane
from tests.plane.lives import SIZES, measured
from tests.planes import declare

CONFIG = """
pools:
  - name: m
    model: m
    listener: {address: "127.0.0.1:10000"}
    objective: {p99: 200ms, availability: 99.9%}
    classes:
      - {name: bulk, match: {min_bytes: 1000}, objective: {p99: 10s}}
      - {name: nightly, match: {prefix: /nightly}}
"""
ONE = Sample("m", "", "127.0.0.1", 9001, 100, 0.1, 200)


def promised() -> Plane:
    a_plane = Plane(0.0)
    declare(a_plane, load_config(CONFIG, "plimsoll.yaml"), 0.0)
    return a_plane


def slow(known: Plane) -> dict[tuple[str, ...], float]:
    return values(everything(known), "plimsoll_sampled_slow_requests_total")


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, "ok"),
        (404, "ok"),
        (429, "error"),
        (500, "error"),
        (503, "error"),
        (0, "abandoned"),
    ],
)
def test_a_request_counts_by_how_it_ended(status: int, result: str) -> None:
    known = promised()
    known.sampled([ONE._replace(status=status)], 1.0)
    counted = values(everything(known), "plimsoll_sampled_requests_total")
    assert {labels: value for labels, value in counted.items() if value} == {
        ("default", "m", result): 1
    }


def test_each_class_has_its_counters_before_its_first_request() -> None:
    assert slow(promised()) == {("default", "m"): 0, ("bulk", "m"): 0, ("nightly", "m"): 0}


def test_a_class_is_held_against_its_own_objective_or_the_pools() -> None:
    known = promised()
    took = [ONE._replace(seconds=1.0, class_name=name) for name in ("", "bulk", "nightly")]
    known.sampled([*took, took[1]._replace(seconds=11.0)], 1.0)
    assert slow(known) == {("default", "m"): 1, ("bulk", "m"): 1, ("nightly", "m"): 1}
    metrics = everything(known)
    assert values(metrics, "plimsoll_objective_p99_seconds") == {
        ("default", "m"): 0.2,
        ("bulk", "m"): 10.0,
        ("nightly", "m"): 0.2,
    }
    available = values(metrics, "plimsoll_objective_availability_ratio")
    assert available == {("default", "m"): 0.999, ("nightly", "m"): 0.999}


def test_a_client_that_gave_up_late_was_too_slow_and_an_error_was_not() -> None:
    known = promised()
    known.sampled([ONE._replace(seconds=5.0, status=item) for item in (0, 503, 429)], 1.0)
    known.sampled([ONE._replace(seconds=0.1, status=0)], 1.0)
    assert slow(known)["default", "m"] == 1


def test_a_request_that_takes_as_long_as_promised_is_in_time() -> None:
    known = promised()
    known.sampled([ONE._replace(seconds=item) for item in (0.2, 0.201)], 1.0)
    assert slow(known)["default", "m"] == 1


def test_durations_are_those_of_answers_without_an_error() -> None:
    known = promised()
    known.sampled([ONE._replace(seconds=item) for item in (0.05, 0.2, 100.0)], 1.0)
    known.sampled([ONE._replace(status=503), ONE._replace(status=0)], 1.0)
    metrics = everything(known)
    name = "plimsoll_sampled_request_duration_seconds"
    buckets = values(metrics, f"{name}_bucket")
    assert buckets["default", "0.025", "m"] == 0
    assert buckets["default", "0.05", "m"] == 1
    assert buckets["default", "0.25", "m"] == 2
    assert buckets["default", "60.0", "m"] == 2
    assert buckets["default", "+Inf", "m"] == 3
    assert values(metrics, f"{name}_count")["default", "m"] == 3
    assert values(metrics, f"{name}_sum")["default", "m"] == pytest.approx(100.25)


def test_buckets_hold_each_duration_that_is_at_most_their_bound() -> None:
    answers = Answers()
    answers.add([ONE._replace(seconds=bound) for bound in BOUNDS], None)
    assert answers.buckets == (*range(1, len(BOUNDS) + 1), len(BOUNDS))


def test_a_pool_without_an_objective_has_none_to_be_held_against() -> None:
    known = plane()
    known.sampled([ONE._replace(seconds=100.0)], 1.0)
    metrics = everything(known)
    assert values(metrics, "plimsoll_sampled_requests_total")["default", "m", "ok"] == 1
    for name in ("sampled_slow_requests_total", "objective_p99_seconds"):
        assert values(metrics, f"plimsoll_{name}") == {}


def test_classes_that_were_found_have_the_names_that_all_else_about_them_has() -> None:
    known = measured(sizes=SIZES).plane
    assert known.parting("m") is not None
    known.sampled([ONE._replace(class_name="bulk", seconds=3.0)], 60.0)
    metrics = everything(known)
    served = {name for name, _ in values(metrics, "plimsoll_class_replicas")}
    assert {name for name, _ in slow(known)} == served == {"search", "bulk"}
    assert slow(known)["bulk", "m"] == 1


def test_names_of_classes_that_an_envoy_makes_up_are_no_labels() -> None:
    known = promised()
    known.sampled([ONE._replace(class_name=f"made-up-{index}") for index in range(100)], 1.0)
    counted = values(everything(known), "plimsoll_sampled_requests_total")
    assert len(counted) == 9
    assert counted["default", "m", "ok"] == 100


def test_a_class_that_the_pool_no_longer_has_is_gone() -> None:
    known = promised()
    known.sampled([ONE._replace(class_name="nightly")], 1.0)
    body = known.fleet.pools["m"].settings.model_dump(mode="json") | {"classes": None}
    a_plane = Plane(1.0)
    a_plane.answers = known.answers
    a_plane.apply(PutPool("m", validated(PoolSettings, body)), 1.0)
    assert {name for name, _ in slow(a_plane)} == {"default"}
