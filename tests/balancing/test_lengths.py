"""How many tokens requests have: bytes that Envoys sample, tokens that servers count."""

from dataclasses import replace

import pytest

from benchmarks.worlds import traffic
from benchmarks.worlds.worlds import TRITON, VLLM
from controlplane.balancing.lengths import BYTES_PER_TOKEN, bytes_per_token
from controlplane.telemetry.sizes import Sizes
from tests.balancing.pools import Play, capacities, pool, weights
from tests.balancing.test_simulated import CLASSES, played


@pytest.mark.parametrize("true", [2.0, 8.0])
def test_replicas_that_count_tokens_show_how_many_bytes_one_has(true: float) -> None:
    run, decisions = played(replace(CLASSES, traffic=traffic.MIXED.with_bytes(true)), 2, envoys=12)
    last = decisions[-1]
    assert last.frame is not None
    assert bytes_per_token(last.frame) == pytest.approx(true, rel=0.3)
    assert last.division.rest == "bulk"
    assert run.p99("search") < 0.3 * run.p99("bulk")


def test_a_server_that_counts_the_texts_of_requests_changes_nothing_in_that() -> None:
    """vLLM counts each text as a request; Envoys sample bodies."""
    last = played(replace(CLASSES, world=VLLM), 2, envoys=12)[1][-1]
    assert last.frame is not None
    assert bytes_per_token(last.frame) == pytest.approx(BYTES_PER_TOKEN, rel=0.3)


def test_where_nobody_counts_tokens_four_bytes_are_one() -> None:
    last = played(
        replace(CLASSES, world=TRITON, traffic=traffic.MIXED.with_bytes(8.0)), 2, envoys=12
    )[1][-1]
    assert last.frame is not None
    assert bytes_per_token(last.frame) == BYTES_PER_TOKEN
    assert last.division.rest == "bulk"


def test_what_was_learned_before_sizes_are_known_is_kept_in_the_new_unit() -> None:
    """At once, and not as requests come: a capacity in another unit than demand means nothing."""
    play = Play(sizes=(sizes := Sizes()))
    replicas = pool(100, 100, 50, tokens=None)
    before = play.run(replicas)
    sizes.add([4_040] * 50, play.now)
    after = play.step(replicas)
    assert capacities(after)["a"] == pytest.approx(10 * capacities(before)["a"], rel=0.05)
    assert capacities(after)["c"] == pytest.approx(capacities(after)["a"] / 2, rel=0.05)
    assert weights(after) == weights(before)


def test_requests_that_become_longer_leave_what_was_learned_as_it_was() -> None:
    play = Play(sizes=(sizes := Sizes()))
    replicas = pool(100, 100, 50, tokens=None)
    sizes.add([440] * 500, play.now)
    before = play.run(replicas)
    sizes.add([4_040] * 500, play.now)
    after = play.step(pool(100 / 5.5, 100 / 5.5, 50 / 5.5, tokens=None))
    assert capacities(after)["a"] == pytest.approx(capacities(before)["a"], rel=0.1)


def test_requests_of_a_class_have_a_ratio_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short ones are mostly JSON where a body names many options."""
    monkeypatch.setattr(traffic, "BYTES_OF_REQUEST", 180)
    last = played(replace(CLASSES, name="much around the text"), 2, envoys=12)[1][-1]
    assert last.frame is not None
    assert last.frame.demand is not None
    flows = last.frame.demand.flows
    assert flows[""].mean == pytest.approx(16, rel=0.2)
    assert flows["bulk"].mean == pytest.approx(2_000, rel=0.3)
