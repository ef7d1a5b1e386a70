"""A replica is shown to Envoy from its first good answer on, and hidden while it loads again."""

import math

import pytest

from controlplane.config.health_check import HealthCheckSettings
from controlplane.plane import Probe, Readiness, State
from controlplane.plane.observed import UNREACHABLE_SECONDS

CHECK = HealthCheckSettings(unhealthy_threshold=2, healthy_threshold=1)
NEW = Readiness(State.STARTING, since=0.0)
READY = NEW.after(Probe.HEALTHY, 1.0, CHECK)
GONE = READY.after(Probe.REFUSED, 2.0, CHECK)


@pytest.mark.parametrize("probe", [Probe.UNHEALTHY, Probe.REFUSED, Probe.UNREACHABLE])
def test_a_new_replica_is_hidden_until_it_answers(probe: Probe) -> None:
    assert not NEW.is_shown
    assert not NEW.after(probe, 1.0, CHECK).is_shown


def test_a_replica_that_answers_is_shown() -> None:
    assert READY.is_shown


def test_a_replica_that_only_we_cannot_reach_is_left_to_envoy_after_a_minute() -> None:
    assert not NEW.after(Probe.UNREACHABLE, UNREACHABLE_SECONDS - 1, CHECK).is_shown
    assert NEW.after(Probe.UNREACHABLE, UNREACHABLE_SECONDS, CHECK).is_shown


def test_a_replica_that_was_there_before_us_is_left_to_envoy_at_once() -> None:
    assert Readiness(State.STARTING, since=-math.inf).after(Probe.UNREACHABLE, 0.0, CHECK).is_shown


def test_a_loading_replica_stays_hidden_however_long_it_takes() -> None:
    assert not NEW.after(Probe.UNHEALTHY, 3600.0, CHECK).is_shown


@pytest.mark.parametrize("answer", [Probe.UNHEALTHY, Probe.REFUSED])
@pytest.mark.parametrize("since", [0.0, -math.inf])
def test_a_loading_replica_that_once_does_not_answer_in_time_stays_hidden(
    answer: Probe, since: float
) -> None:
    loading = Readiness(State.STARTING, since).after(answer, 100.0, CHECK)
    assert not loading.after(Probe.UNREACHABLE, 101.0, CHECK).is_shown
    assert loading.after(Probe.UNREACHABLE, 100.0 + UNREACHABLE_SECONDS, CHECK).is_shown
    twice = loading.after(Probe.UNREACHABLE, 101.0, CHECK).after(answer, 102.0, CHECK)
    assert not twice.after(Probe.UNREACHABLE, 101.0 + UNREACHABLE_SECONDS, CHECK).is_shown


def test_a_replica_whose_port_is_closed_stays_shown_since_envoy_sees_it_too() -> None:
    assert GONE.state is State.GONE
    assert GONE.is_shown


def test_a_replica_that_returns_and_loads_is_hidden_again() -> None:
    assert not GONE.after(Probe.UNHEALTHY, 3.0, CHECK).is_shown


def test_a_replica_that_returns_and_answers_is_ready_again() -> None:
    assert GONE.after(Probe.HEALTHY, 3.0, CHECK).state is State.READY


@pytest.mark.parametrize("probe", [Probe.UNHEALTHY, Probe.UNREACHABLE])
def test_a_ready_replica_that_only_fails_checks_is_envoys_to_judge(probe: Probe) -> None:
    assert READY.after(probe, 3.0, CHECK).is_shown


def test_a_restarted_replica_is_asked_again() -> None:
    assert READY.restarted(5.0).state is State.GONE


def test_a_state_that_lasts_keeps_its_beginning() -> None:
    assert NEW.after(Probe.UNHEALTHY, 9.0, CHECK).since == 0.0
    assert READY.since == 1.0


def test_a_replica_that_was_found_ready_may_have_served_for_days() -> None:
    found = Readiness(State.STARTING, since=-math.inf).after(Probe.HEALTHY, 3.0, CHECK)
    assert found.state is State.READY
    assert found.ready_since is None


def test_a_replica_that_was_seen_loading_has_been_ready_since_it_answered() -> None:
    loading = Readiness(State.STARTING, since=-math.inf).after(Probe.UNHEALTHY, 1.0, CHECK)
    assert loading.after(Probe.HEALTHY, 3.0, CHECK).ready_since == 3.0
    assert READY.ready_since == 1.0
    assert READY.after(Probe.HEALTHY, 9.0, CHECK).ready_since == 1.0


def test_a_replica_that_comes_back_has_been_ready_since_then() -> None:
    assert GONE.ready_since is None
    assert GONE.after(Probe.HEALTHY, 5.0, CHECK).ready_since == 5.0


def test_who_served_before_us_and_does_not_answer_our_first_probe_in_time_is_warm() -> None:
    known = Readiness(State.GONE, since=-math.inf)
    assert (
        known.after(Probe.UNREACHABLE, 0.0, CHECK).after(Probe.HEALTHY, 0.5, CHECK).ready_since
        is None
    )
    assert (
        known.after(Probe.REFUSED, 0.0, CHECK).after(Probe.HEALTHY, 0.5, CHECK).ready_since == 0.5
    )


def state_after(*probes: Probe, thresholds: tuple[int, int] = (2, 1)) -> State:
    """The state of a ready replica after these, by how many speak against it, and for it."""
    unhealthy, healthy = thresholds
    check = HealthCheckSettings(unhealthy_threshold=unhealthy, healthy_threshold=healthy)
    found = READY
    for probe in probes:
        found = found.after(probe, 2.0, check)
    return found.state


@pytest.mark.parametrize("probe", [Probe.UNHEALTHY, Probe.UNREACHABLE])
def test_a_replica_is_unhealthy_once_enough_checks_in_a_row_fail(probe: Probe) -> None:
    assert state_after(probe) is State.READY
    assert state_after(probe, probe) is State.UNHEALTHY
    assert state_after(probe, Probe.HEALTHY, probe) is State.READY
    assert state_after(probe, probe, thresholds=(3, 1)) is State.READY


def test_a_replica_where_nobody_listens_is_gone_at_once() -> None:
    assert state_after(Probe.REFUSED) is State.GONE
    assert state_after(Probe.UNREACHABLE, Probe.UNREACHABLE, Probe.REFUSED) is State.GONE


@pytest.mark.parametrize("before", [(), (Probe.REFUSED,), (Probe.UNREACHABLE,) * 2])
def test_a_certificate_that_only_we_may_not_trust_says_nothing_of_a_replicas_health(
    before: tuple[Probe, ...],
) -> None:
    assert state_after(*before, *[Probe.UNTRUSTED] * 5) is state_after(*before)


@pytest.mark.parametrize("before", [(Probe.REFUSED,), (Probe.UNREACHABLE,) * 2])
def test_a_replica_is_ready_again_once_enough_checks_in_a_row_succeed(
    before: tuple[Probe, ...],
) -> None:
    well, silent = Probe.HEALTHY, Probe.UNREACHABLE
    ill = state_after(*before)
    assert state_after(*before, well) is State.READY
    assert state_after(*before, well, thresholds=(2, 2)) is ill
    assert state_after(*before, well, silent, well, thresholds=(2, 2)) is ill
    assert state_after(*before, well, well, thresholds=(2, 2)) is State.READY


def test_one_that_is_unhealthy_is_envoys_to_judge_and_does_not_count() -> None:
    ill = READY.after(Probe.UNREACHABLE, 2.0, CHECK).after(Probe.UNREACHABLE, 3.0, CHECK)
    assert (ill.is_shown, ill.may_serve, ill.since) == (True, False, 3.0)


def test_one_that_only_hung_is_as_warm_as_before() -> None:
    ill = READY.after(Probe.UNREACHABLE, 2.0, CHECK).after(Probe.UNREACHABLE, 3.0, CHECK)
    assert ill.after(Probe.HEALTHY, 9.0, CHECK).ready_since == READY.ready_since
