"""Which requests are long, where they go, and that nobody's share of the work changes by it."""

import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.weighing.fast import LEAST, Member, Seen
from controlplane.weighing.long_part import KEPT, NOTHING
from controlplane.weighing.sizes import BRIM, ENOUGH, PAUSE, SETTLED, STEP, Sizes, parted
from tests.weighing.members import FAST, SLOW, member, pool, told


class Traffic:
    """Lognormal lengths through what was decided, without chance in who gets a request."""

    def __init__(self, bytes_per_token: float = 4.0, sigma: float = 1.0) -> None:
        self.members = pool()
        self.sizes: Sizes | None = None
        self.now = 0.0
        self._bytes, self._sigma = bytes_per_token, sigma
        self._random = Random(1)  # noqa: S311 - to be repeated

    def run(self, seconds: float, rate: int = 200) -> None:
        """Decide twice a second."""
        for _ in range(round(seconds * 2)):
            self.now += 0.5
            weights = told(self.sizes, self.members, self.now)
            for _ in range(rate // 2):
                tokens = 100 * self._random.lognormvariate(-(self._sigma**2) / 2, self._sigma)
                self._serve(tokens, weights)
            self.sizes = parted(self.sizes, self.members, weights, self.now, 0.0)

    def _serve(self, tokens: float, weights: dict[str, float]) -> None:
        ids = list(self.members)
        if self.sizes and tokens * self._bytes >= self.sizes.threshold:
            ids = sorted(self.sizes.fast)
        (id_,) = self._random.choices(ids, [weights[id_] for id_ in ids])
        it = self.members[id_]
        assert it.seen is not None
        seen = Seen(0, it.seen.requests + 1, it.seen.tokens + tokens)
        self.members[id_] = replace(it, seen=seen)

    def work(self) -> dict[str, float]:
        """Tokens so far, by id."""
        return {id_: it.seen.tokens for id_, it in self.members.items() if it.seen}


def test_long_requests_go_to_the_fast_replicas() -> None:
    members = pool()
    sizes = parted(None, members, told(None, members), 0.0, 0.0)
    assert sizes is not None
    assert sizes.fast == set(FAST)
    # Twice the mean of 100 tokens and a little more, at four bytes a token.
    assert sizes.threshold == 920


@pytest.mark.parametrize(
    "members",
    [
        {id_: member(1.0, 0) for id_ in SLOW},
        pool(ratio=1.5),
        {**pool(), "f0": member(4.0, 2, seen=None)},
        {id_: replace(it, requests=20.0) for id_, it in pool().items()},
        {id_: replace(it, tokens=None) for id_, it in pool().items()},
        {},
    ],
    ids=["alike", "hardly faster", "one does not count", "hardly known", "idle", "nobody"],
)
def test_requests_stay_together(members: dict[str, Member]) -> None:
    assert parted(None, members, told(None, members), 0.0, 0.0) is None


def test_a_fast_replica_that_could_do_too_little_is_joined_by_the_next_ones() -> None:
    members = {
        "f": member(4.0, 3), "m0": member(2.5, 2), "m1": member(2.5, 2),
        **{f"s{n}": member(1.0, 0) for n in range(14)},
    }  # fmt: skip
    assert LEAST > 4 / 23
    sizes = parted(None, members, told(None, members), 0.0, 0.0)
    assert sizes is not None
    assert sizes.fast == {"f", "m0", "m1"}


def test_a_replica_that_starts_slowly_gets_no_long_requests() -> None:
    members = {**pool(), "f1": member(4.0, None)}
    sizes = parted(None, members, told(None, members), 0.0, 0.0)
    assert sizes is not None
    assert sizes.fast == {"f0"}


def test_once_parted_a_newcomer_or_fewer_known_requests_change_nothing() -> None:
    members = pool()
    sizes = parted(None, members, told(None, members), 0.0, 0.0)
    assert sizes is not None
    later = {id_: replace(it, requests=20.0) for id_, it in members.items()}
    later["s6"] = member(1.0, 0, seen=None)
    after = parted(sizes, later, told(sizes, later), 1.0, 0.0)
    assert after is not None
    assert (after.threshold, after.fast) == (sizes.threshold, sizes.fast)
    assert parted(sizes, pool(ratio=1.5), {}, 1.0, 0.0) is not None
    assert parted(sizes, pool(ratio=1.3), {}, 1.0, 0.0) is None


@pytest.mark.parametrize("bytes_per_token", [2.0, 4.0, 9.0])
@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_everyone_keeps_its_share_of_the_work_whatever_a_token_is_long(
    bytes_per_token: float, sigma: float
) -> None:
    traffic = Traffic(bytes_per_token, sigma)
    traffic.run(120.0)
    before = traffic.work()
    traffic.run(120.0)
    work = {id_: tokens - before[id_] for id_, tokens in traffic.work().items()}
    assert traffic.sizes is not None
    fast = sum(work[id_] for id_ in FAST) / sum(work.values())
    assert fast == pytest.approx(8 / 14, rel=0.06)
    # And the part that is long is such that the fast ones can do it, and are worth it.
    assert 0.15 < traffic.sizes.part < 8 / 14


def test_the_threshold_comes_to_rest() -> None:
    traffic = Traffic(bytes_per_token=12.0)
    thresholds = set()
    for minute in range(8):
        traffic.run(60.0, rate=60)
        assert traffic.sizes is not None
        if minute >= 4:
            thresholds.add(traffic.sizes.threshold)
    assert len(thresholds) == 1


def test_a_flood_of_long_requests_raises_the_threshold_at_once() -> None:
    members = pool()
    sizes = parted(None, members, told(None, members), 0.0, 0.0)
    assert sizes is not None
    weights = told(sizes, members)
    # The fast ones did nearly everything: nearly everything is long.
    busy = {
        id_: replace(it, seen=Seen(0, 1000 + ENOUGH, 200_000.0 if id_ in FAST else 100_100.0))
        for id_, it in members.items()
    }
    soon = SETTLED + 1
    assert soon < PAUSE
    after = parted(sizes, busy, weights, soon, 0.0)
    assert after is not None
    assert after.threshold == pytest.approx(sizes.threshold * STEP, rel=0.05)
    assert after.part <= BRIM * 8 / 14


def test_when_a_fast_replica_becomes_slow_no_more_is_long_than_the_other_one_can_do() -> None:
    members = pool()
    sizes = parted(None, members, told(None, members), 0.0, 0.0)
    assert sizes is not None
    members["f0"] = member(0.4, 0)
    after = parted(sizes, members, told(sizes, members), 1.0, 0.0)
    assert after is not None
    assert after.fast == {"f1"}
    assert after.part == pytest.approx(0.65 * 4 / 10.4)
    assert after.threshold > 1.25 * sizes.threshold
    # What the threshold does to lognormal lengths is what it is taken to do.
    traffic = Traffic()
    traffic.members, traffic.sizes, traffic.now = members, after, 1.0
    before = traffic.work()
    traffic.run(SETTLED)
    work = {id_: tokens - before[id_] for id_, tokens in traffic.work().items()}
    assert work["f1"] / sum(work.values()) == pytest.approx(4 / 10.4, rel=0.2)


def test_what_was_sent_before_the_threshold_changed_does_not_count() -> None:
    members = pool()
    sizes = parted(None, members, told(None, members), 0.0, 0.0)
    assert sizes is not None
    busy = {
        id_: replace(it, seen=Seen(0, 1000 + ENOUGH, 200_000.0 if id_ in FAST else 100_000.0))
        for id_, it in members.items()
    }
    after = parted(sizes, busy, told(sizes, members), SETTLED / 2, 0.0)
    assert after is not None
    assert after.tally == NOTHING


def test_lengths_that_are_all_alike_do_not_move_the_threshold_for_ever() -> None:
    traffic = Traffic(sigma=1e-6)
    moves, before = [], None
    for _ in range(720):
        traffic.run(5.0, rate=20)
        assert traffic.sizes is not None
        moves.append(before is not None and traffic.sizes.threshold != before)
        before = traffic.sizes.threshold
    # An hour: once everything was long, it is tried again an hour later.
    assert sum(moves[180:]) <= 1


def test_what_was_seen_long_ago_fades() -> None:
    traffic = Traffic()
    traffic.run(60.0)
    assert traffic.sizes is not None
    assert KEPT <= traffic.sizes.tally.requests < 1.1 * KEPT


@pytest.mark.parametrize("tokens", [90_000.0, 190_000.0])
def test_what_a_replica_did_before_it_restarted_is_not_held_against_what_it_does(
    tokens: float,
) -> None:
    members = pool()
    sizes = parted(None, members, told(None, members), 0.0, 0.0)
    assert sizes is not None
    restarted = {**members, "s0": member(1.0, 0, seen=Seen(1, 900.0, tokens))}
    after = parted(sizes, restarted, told(sizes, members), SETTLED, 0.0)
    assert after is not None
    assert after.tally == NOTHING


@given(
    shares=st.lists(st.floats(0.05, 10), min_size=2, max_size=8),
    part=st.floats(0, 0.5),
    fast=st.integers(1, 7),
)
def test_what_fast_replicas_get_of_short_requests_keeps_everyones_share(
    shares: list[float], part: float, fast: int
) -> None:
    members = {f"r{n}": member(1.0, 0, share=share) for n, share in enumerate(shares)}
    ids = frozenset(list(members)[: min(fast, len(members) - 1)])
    capacity = sum(members[id_].share for id_ in ids) / sum(shares)
    sizes = Sizes(1000, ids, part, part, 0.0, 0.0)
    weights = told(sizes, members)
    short_to_fast = sum(weights[id_] for id_ in ids) / sum(weights.values())
    done = part + (1 - part) * short_to_fast
    if part <= BRIM * capacity:
        assert done == pytest.approx(capacity, abs=0.03)
    assert all(weight > 0 and math.isfinite(weight) for weight in weights.values())


def test_until_envoys_have_had_notice_nothing_is_parted() -> None:
    members = pool()
    sizes = parted(None, members, told(None, members), 10.0, 2.0)
    assert sizes is not None
    assert [sizes.is_in_force(now) for now in (10.0, 11.9, 12.0)] == [False, False, True]
    shares = {id_: it.share for id_, it in members.items()}
    assert sizes.of_short(shares, 11.9) == 1.0
    assert sizes.of_short(shares, 12.0) < 0.5
    busy = {
        id_: replace(it, seen=Seen(0, 1500.0, 200_000.0)) for id_, it in members.items()
    }  # fmt: skip
    early = parted(sizes, busy, told(sizes, members, 11.9), 12.0 + SETTLED / 2, 2.0)
    assert early is not None
    assert early.tally == NOTHING
