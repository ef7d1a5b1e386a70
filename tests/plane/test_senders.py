"""What each Envoy sends, by its load reports."""

import pytest

from controlplane.plane.traffic import Senders
from controlplane.telemetry.load import Endpoint, Load

ONE, OTHER = Endpoint("m", "10.0.0.1", 80), Endpoint("n", "10.0.0.2", 80)


def senders() -> Senders:
    found = Senders()
    found.came("stream", "search-1", 0.0)
    return found


def test_what_ended_since_the_report_before_is_a_rate() -> None:
    found = senders()
    found.reported("stream", {ONE: Load(8, 2, 5), OTHER: Load(3, 0, 0)}, 1.0)
    assert found.sent() == {"search-1": {"m": 10.0, "n": 3.0}}


def test_a_rate_fades_when_reports_have_nothing_in_them() -> None:
    found = senders()
    found.reported("stream", {ONE: Load(10, 0, 0)}, 1.0)
    for second in range(2, 100):
        found.reported("stream", {}, float(second))
    assert found.sent()["search-1"]["m"] == pytest.approx(0.0, abs=0.01)


def test_streams_of_one_node_are_added_up_and_one_that_left_counts_no_more() -> None:
    found = senders()
    found.came("another", "search-1", 0.0)
    for stream in ("stream", "another"):
        found.reported(stream, {ONE: Load(10, 0, 0)}, 1.0)
    assert found.sent() == {"search-1": {"m": 20.0}}
    found.left("stream")
    assert found.sent() == {"search-1": {"m": 10.0}}
    found.reported("stream", {ONE: Load(10, 0, 0)}, 2.0)
    assert found.sent() == {"search-1": {"m": 10.0}}
