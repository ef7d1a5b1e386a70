"""What comes, and how much of what a fleet carries it is."""

from statistics import mean

import pytest

from benchmarks.worlds import scenarios, traffic
from benchmarks.worlds.scenarios import SCENARIOS
from benchmarks.worlds.traffic import BULK, MIXED, SEARCH, Arrival, Traffic, arrivals


def drawn(of: Traffic, seconds: float = 400, rate: float = 100) -> list[Arrival]:
    return list(arrivals(of, 1, rate, seconds))


def test_one_request_in_ten_is_of_an_indexing_job() -> None:
    found = drawn(MIXED)
    bulk = [request for request in found if request.kind == BULK]
    assert len(found) == pytest.approx(40_000, rel=0.02)
    assert len(bulk) / len(found) == pytest.approx(0.1, rel=0.05)
    assert {request.texts for request in bulk} == {(100,) * 20}
    assert {(request.texts, request.bytes) for request in found if request.kind == SEARCH} == {
        ((16,), 107)
    }


@pytest.mark.parametrize(
    "of", [MIXED, traffic.RARE_BULK, traffic.HALF_BULK, traffic.single_texts(2.0, 2_048)]
)
def test_means_are_those_of_what_is_drawn(of: Traffic) -> None:
    found = drawn(of)
    texts = [text for request in found for text in request.texts]
    assert mean(request.tokens for request in found) == pytest.approx(of.tokens, rel=0.1)
    assert mean(texts) == pytest.approx(of.tokens_of_text, rel=0.1)
    assert max(texts) <= 2_048


def test_a_full_batch_leaves_as_much_as_is_said() -> None:
    texts, left, batches = [text for request in drawn(MIXED) for text in request.texts], 2_048, []
    for text in texts:
        if text > left:
            batches.append(left)
            left = 2_048
        left -= text
    assert mean(batches) == pytest.approx(MIXED.pad, abs=0.005 * 2_048)


def rate(found: list[Arrival], kind: str, begin: float, end: float) -> float:
    return sum(request.kind == kind and begin <= request.at < end for request in found) / (
        end - begin
    )


def test_a_bulk_job_comes_between_two_times_only() -> None:
    found = drawn(traffic.bulk_job(100, 200))
    assert {int(request.at // 100) for request in found if request.kind == BULK} == {1}
    assert rate(found, BULK, 100, 200) == pytest.approx(10, rel=0.1)
    assert rate(found, SEARCH, 0, 400) == pytest.approx(90, rel=0.03)


def test_more_of_one_class_or_of_all_come_for_some_time() -> None:
    searches = drawn(traffic.more_searches(100, 200, 4.0))
    assert rate(searches, SEARCH, 100, 200) == pytest.approx(360, rel=0.05)
    assert rate(searches, BULK, 100, 200) == pytest.approx(10, rel=0.2)
    burst = drawn(traffic.burst(100, 200, 1.5))
    assert rate(burst, SEARCH, 100, 200) == pytest.approx(135, rel=0.05)
    assert rate(burst, SEARCH, 200, 400) == pytest.approx(90, rel=0.05)


def test_a_load_is_a_part_of_what_full_batches_carry() -> None:
    scenario = SCENARIOS["classes-70"]
    full = 2_048 - MIXED.pad
    fast, slow = (full / (0.030 + 0.00035 * full / speed) for speed in (4, 1))
    assert scenario.tokens_rate == pytest.approx(0.7 * (2 * fast + 6 * slow))
    assert scenario.rate * MIXED.tokens == pytest.approx(scenario.tokens_rate)


def test_names_say_the_load() -> None:
    assert scenarios.SCENARIOS["classes-70"].at_load(0.95).name == "classes-95"
