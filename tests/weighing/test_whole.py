"""What holds for a whole weighing, of pools whose replicas serve, slow down, fail and fall silent.

Windows out of nothing, as in `test_weigh`, rarely come to an estimate.
"""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.settings import PoolSettings
from controlplane.weighing import Weighing
from controlplane.weighing.damping import DEAD_BAND
from tests.weighing.lives import IDS, Doing, Life, lived, lives, pools, steps_seen
from tests.weighing.test_policies import TIERS, WEIGHTED
from tests.weighing.test_weigh import OBJECTIVE

policies = st.sampled_from([TIERS, OBJECTIVE, WEIGHTED])
envoys = st.sampled_from([None, 1, 12])
few = settings(max_examples=20)


def told(weighings: Sequence[Weighing]) -> list[dict[str, tuple[int, str, float | None]]]:
    """What Envoys were told, by id; some are alone in tiers with their names."""
    return [
        {
            id_: (it.weight, it.tier.removesuffix(f"-{id_}"), it.share)
            for id_, it in weighing.replicas.items()
        }
        for weighing in weighings
    ]


def test_the_lives_here_come_to_every_rule_but_those_of_memory() -> None:
    busy, slow = Doing(rate=200.0, line=1.0), Doing(rate=40.0, latency=0.2, line=1.0)
    pool = {
        "a": Life(None, None, (busy, Doing(rate=200.0, latency=0.1), busy)),
        "b": Life(1, None, (slow, slow, Doing(rate=40.0, latency=0.2, tail=20.0))),
        "c": Life(1, 6.0, (busy, Doing(rate=200.0, line=50.0), busy)),
        "d": Life(1, None, (busy, Doing(rate=200.0, failing=0.3), Doing(heard=False))),
        "e": Life(1, None, (busy, Doing(rate=0.0), busy)),
        "f": Life(1, None, (Doing(rate=2.0), busy, busy)),
    }
    seen = steps_seen(lived(pool, OBJECTIVE, rounds=20))
    assert seen >= {
        *("estimate", "few requests", "slots", "change", "kind", "tail", "objective", "errors"),
        *("stale", "median", "reserve", "warming", "veto", "damping", "tier"),
    }


@few
@given(pools, policies, envoys, st.permutations(IDS))
def test_neither_the_order_nor_the_names_of_replicas_matter(
    pool: dict[str, Life], policy: PoolSettings, count: int | None, order: list[str]
) -> None:
    before = told(lived(pool, policy, envoys=count))
    shuffled = {id_: pool[id_] for id_ in order if id_ in pool}
    assert told(lived(shuffled, policy, envoys=count)) == before
    names = dict(zip(IDS, order, strict=True))
    renamed = {names[id_]: life for id_, life in pool.items()}
    after = told(lived(renamed, policy, envoys=count))
    assert after == [{names[id_]: it for id_, it in each.items()} for each in before]


@few
@given(pools, lives, policies, envoys)
def test_replicas_that_live_alike_get_exactly_the_same_among_whatever_others(
    pool: dict[str, Life], life: Life, policy: PoolSettings, count: int | None
) -> None:
    among = {**pool, "x": life, "y": life, "z": life}
    for each in told(lived(among, policy, envoys=count)):
        assert each["x"] == each["y"] == each["z"]


@few
@given(pools, policies, envoys)
def test_a_weight_is_what_its_steps_come_to(
    pool: dict[str, Life], policy: PoolSettings, count: int | None
) -> None:
    for weighing in lived(pool, policy, envoys=count):
        # What one that is not ready shares with its tier is nobody's step.
        for weighed in (it for it in weighing.replicas.values() if it.share != 0):
            names = [step.name for step in weighed.steps]
            first = names.index("median") if "median" in names else 0
            value = weighed.steps[first].after
            for step in weighed.steps[first + 1 :]:
                assert step.before is not None
                value *= step.after / step.before
            # Envoy keeps what it was told within the dead band, and gets whole numbers.
            kept = DEAD_BAND * weighed.weight + 1
            assert weighed.weight == pytest.approx(1000 * value, abs=kept)


@few
@given(pools, policies, envoys)
def test_shares_are_in_proportion_to_weights_and_come_to_all_of_the_traffic(
    pool: dict[str, Life], policy: PoolSettings, count: int | None
) -> None:
    for weighing in lived(pool, policy, envoys=count):
        shares = {id_: it.share or 0.0 for id_, it in weighing.replicas.items()}
        assert math.fsum(shares.values()) == pytest.approx(1) or not any(shares.values())
        if weighing.sizes is not None:
            continue
        serving = {id_: it.weight for id_, it in weighing.replicas.items() if it.share}
        for id_, weight in serving.items():
            assert shares[id_] == pytest.approx(weight / sum(serving.values()))


@few
@given(pools, policies)
def test_whatever_happens_weights_are_positive_bounded_and_numbers(
    pool: dict[str, Life], policy: PoolSettings
) -> None:
    for weighing in lived(pool, policy):
        for weighed in weighing.replicas.values():
            assert 1 <= weighed.weight <= 10_000
            assert weighed.capacity is None or 0 < weighed.capacity < math.inf
