"""How long pushes take, with a clock that the test sets."""

from prometheus_client import CollectorRegistry

from controlplane.metrics import Pushes
from controlplane.resources.resource import ENDPOINT
from controlplane.xds import Sent

CONVERGENCE, PUSH = "plimsoll_xds_convergence_seconds", "plimsoll_xds_push_seconds"
SENT = Sent(ENDPOINT, "v1", resources=1, removed=0, size=10)


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
    metrics = Measured()
    metrics.pushes.begun(["a", "b"], noticed_at=99.0)
    metrics.now = 101.0
    metrics.pushes.settled("a")
    assert metrics.measured(CONVERGENCE) == (0, 0)
    assert metrics.value("plimsoll_xds_streams_behind") == 1
    assert metrics.value("plimsoll_xds_oldest_change_seconds") == 2
    metrics.now = 103.0
    metrics.pushes.settled("b")
    assert metrics.measured(CONVERGENCE) == (1, 4.0)
    assert metrics.value("plimsoll_xds_streams_behind") == 0


def test_a_stream_that_has_the_newest_has_all_before_it() -> None:
    metrics = Measured()
    metrics.pushes.begun(["a", "b"], noticed_at=99.0)
    metrics.pushes.begun(["a"], noticed_at=99.5)
    metrics.pushes.settled("a")
    assert metrics.measured(CONVERGENCE) == (1, 0.5)
    metrics.pushes.settled("b")
    assert metrics.measured(CONVERGENCE) == (2, 1.5)


def test_a_stream_that_ends_completes_what_only_it_kept_open() -> None:
    metrics = Measured()
    metrics.pushes.begun(["a", "b"], noticed_at=99.0)
    metrics.pushes.settled("a")
    metrics.pushes.gone("b")
    assert metrics.measured(CONVERGENCE) == (1, 1.0)


def test_a_push_lasts_from_the_new_catalog_to_each_response() -> None:
    metrics = Measured()
    metrics.pushes.begun(["a"], noticed_at=90.0)
    for metrics.now in (101.0, 102.0):
        metrics.pushes.happened("a", "node", SENT)
    assert metrics.measured(PUSH) == (2, 3.0)


def test_what_a_new_client_is_sent_is_no_push() -> None:
    metrics = Measured()
    metrics.pushes.begun(["a"], noticed_at=99.0)
    metrics.now = 5000.0
    metrics.pushes.happened("late", "node", SENT)
    metrics.pushes.settled("late")
    assert (metrics.measured(PUSH), metrics.measured(CONVERGENCE)) == ((0, 0), (0, 0))


def test_changes_that_are_never_answered_for_are_counted() -> None:
    metrics = Measured()
    for _ in range(70):
        metrics.pushes.begun(["stuck"], noticed_at=99.0)
    assert metrics.value("plimsoll_xds_changes_given_up_total") == 6
