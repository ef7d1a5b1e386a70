"""How long pushes take, with a clock that the test sets."""

from prometheus_client import CollectorRegistry

from controlplane.edges.own_metrics.pushes import Pushes

CONVERGENCE, PUSH = "plimsoll_xds_convergence_seconds", "plimsoll_xds_push_seconds"


class Measured:
    """Pushes, and what they measured."""

    def __init__(self) -> None:
        self.now = 100.0
        self.registry = CollectorRegistry()
        self.pushes = Pushes(self.registry, clock=lambda: self.now)

    def value(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)

    def measured(self, name: str) -> tuple[float | None, float | None]:
        """How many durations there were, and their sum."""
        return self.value(f"{name}_count"), self.value(f"{name}_sum")


def test_convergence_lasts_from_the_notice_to_the_last_answer() -> None:
    it = Measured()
    it.pushes.handed(99.0)
    it.now = 101.0
    it.pushes.begun(1, ["a", "b"])
    it.pushes.settled("a", 1)
    assert it.measured(CONVERGENCE) == (0, 0)
    assert it.value("plimsoll_xds_streams_behind") == 1
    assert it.value("plimsoll_xds_oldest_change_seconds") == 2
    it.now = 103.0
    it.pushes.settled("b", 1)
    assert it.measured(CONVERGENCE) == (1, 4.0)
    assert it.value("plimsoll_xds_streams_behind") == 0


def test_a_stream_that_ends_completes_what_only_it_kept_open() -> None:
    it = Measured()
    it.pushes.handed(99.0)
    it.pushes.begun(1, ["a", "b"])
    it.pushes.settled("a", 1)
    it.pushes.gone("b")
    assert it.measured(CONVERGENCE) == (1, 1.0)


def test_a_push_lasts_from_the_hand_over_to_each_response() -> None:
    it = Measured()
    it.pushes.handed(90.0)
    it.now = 100.5
    it.pushes.begun(1, ["a"])
    it.now = 101.0
    it.pushes.written("a", 1)
    it.now = 102.0
    it.pushes.written("a", 1)
    assert it.measured(PUSH) == (2, 3.0)


def test_what_a_new_client_is_sent_is_no_push() -> None:
    it = Measured()
    it.pushes.handed(99.0)
    it.pushes.begun(1, ["a"])
    it.now = 5000.0
    it.pushes.written("late", 1)
    assert it.measured(PUSH) == (0, 0)


def test_a_catalog_that_was_replaced_before_it_was_taken_up_counts_from_its_notice() -> None:
    it = Measured()
    it.pushes.handed(98.0)
    it.now = 101.0
    it.pushes.handed(100.5)
    it.pushes.begun(2, ["a"])
    it.pushes.written("a", 2)
    it.pushes.settled("a", 2)
    assert it.measured(PUSH) == (1, 1.0)
    assert it.measured(CONVERGENCE) == (1, 3.0)


def test_a_catalog_that_nobody_handed_over_is_not_measured() -> None:
    it = Measured()
    it.pushes.begun(1, ["a"])
    it.pushes.written("a", 1)
    it.pushes.settled("a", 1)
    assert (it.measured(PUSH), it.measured(CONVERGENCE)) == ((0, 0), (0, 0))


def test_changes_that_are_never_answered_for_are_counted() -> None:
    it = Measured()
    for revision in range(70):
        it.pushes.handed(99.0)
        it.pushes.begun(revision, ["stuck"])
    assert it.value("plimsoll_xds_changes_given_up_total") == 6


def test_each_catalog_counts_from_its_own_notice() -> None:
    it = Measured()
    for revision in (1, 2):
        it.now += 10.0
        it.pushes.handed(it.now - 1.0)
        it.pushes.begun(revision, ["a"])
        it.pushes.settled("a", revision)
    assert it.measured(CONVERGENCE) == (2, 2.0)
