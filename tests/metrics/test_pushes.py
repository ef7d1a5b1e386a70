"""How long pushes take, with a clock that the test sets."""

from prometheus_client import CollectorRegistry

from controlplane.metrics.pushes import Pushes

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
    it.pushes.begun(["a", "b"], noticed_at=99.0)
    it.now = 101.0
    it.pushes.settled("a")
    assert it.measured(CONVERGENCE) == (0, 0)
    assert it.value("plimsoll_xds_streams_behind") == 1
    assert it.value("plimsoll_xds_oldest_change_seconds") == 2
    it.now = 103.0
    it.pushes.settled("b")
    assert it.measured(CONVERGENCE) == (1, 4.0)
    assert it.value("plimsoll_xds_streams_behind") == 0


def test_a_stream_that_has_the_newest_has_all_before_it() -> None:
    it = Measured()
    it.pushes.begun(["a", "b"], noticed_at=99.0)
    it.pushes.begun(["a"], noticed_at=99.5)
    it.pushes.settled("a")
    assert it.measured(CONVERGENCE) == (1, 0.5)
    it.pushes.settled("b")
    assert it.measured(CONVERGENCE) == (2, 1.5)


def test_a_stream_that_ends_completes_what_only_it_kept_open() -> None:
    it = Measured()
    it.pushes.begun(["a", "b"], noticed_at=99.0)
    it.pushes.settled("a")
    it.pushes.gone("b")
    assert it.measured(CONVERGENCE) == (1, 1.0)


def test_a_push_lasts_from_the_new_catalog_to_each_response() -> None:
    it = Measured()
    it.pushes.begun(["a"], noticed_at=90.0)
    for it.now in (101.0, 102.0):
        it.pushes.written("a")
    assert it.measured(PUSH) == (2, 3.0)


def test_what_a_new_client_is_sent_is_no_push() -> None:
    it = Measured()
    it.pushes.begun(["a"], noticed_at=99.0)
    it.now = 5000.0
    it.pushes.written("late")
    it.pushes.settled("late")
    assert (it.measured(PUSH), it.measured(CONVERGENCE)) == ((0, 0), (0, 0))


def test_changes_that_are_never_answered_for_are_counted() -> None:
    it = Measured()
    for _ in range(70):
        it.pushes.begun(["stuck"], noticed_at=99.0)
    assert it.value("plimsoll_xds_changes_given_up_total") == 6
