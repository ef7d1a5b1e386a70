"""What happens on streams is counted, and nothing that a client says becomes a label."""

import pytest

from controlplane.metrics import OwnMetrics
from controlplane.plane import Plane
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from controlplane.xds import (
    FAULT,
    Acknowledged,
    Connected,
    Disconnected,
    Event,
    Locality,
    Node,
    Rejected,
    Sent,
    Unserved,
)
from tests.metrics.exposed import everything, families, values

SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105
SHORT = {CLUSTER: "cds", ENDPOINT: "eds", LISTENER: "lds", ROUTE: "rds", SECRET: "sds"}


def told(*events: Event) -> OwnMetrics:
    metrics = everything(Plane(0.0))
    for event in events:
        metrics.streams.observe(event)
    return metrics


@pytest.mark.parametrize(("type_url", "short"), SHORT.items())
def test_each_type_has_its_short_name(type_url: str, short: str) -> None:
    metrics = told(
        Sent(type_url, "v", 1, 0, 100),
        Sent(type_url, "w", 1, 0, 20),
        Acknowledged(type_url, "v"),
        Rejected(type_url, ("a",), "bad"),
    )
    for name, value in (
        ("responses", 2),
        ("sent_bytes", 120),
        ("acknowledgements", 1),
        ("rejections", 1),
    ):
        counts = values(metrics, f"plimsoll_xds_{name}_total")
        assert {type_: count for (type_,), count in counts.items() if count} == {short: value}


def test_every_series_of_a_counter_is_there_before_its_first_count() -> None:
    assert set(values(told(), "plimsoll_xds_rejections_total")) == {
        (item,) for item in ("cds", "eds", "lds", "rds", "sds", "other")
    }


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("", "left"),
        ("the server is shutting down", "shutdown"),
        ("the client read nothing for 20 s", "stalled"),
        (FAULT, "internal_error"),
        ("a resource name is longer than 1024 characters", "refused"),
    ],
)
def test_why_a_stream_ended_is_one_of_a_few_words(reason: str, cause: str) -> None:
    counts = values(told(Disconnected(reason)), "plimsoll_xds_disconnections_total")
    assert len(counts) == 5
    assert {word: count for (word,), count in counts.items() if count} == {cause: 1}


def test_a_hundred_clients_that_say_what_they_like_add_no_series() -> None:
    def series(metrics: OwnMetrics) -> set[tuple[str, str]]:
        return {
            (sample.name, str(sample.labels))
            for family in families(metrics).values()
            for sample in family.samples
        }

    metrics = told()
    before = series(metrics)
    for number in range(100):
        id_, url = f"node-{number}", f"type.googleapis.com/made.up.Type{number}"
        node = Node(id_, "c", Locality(f"r{number}", "z"), "envoy", f"1.{number}")
        for event in (
            Connected(node),
            Unserved(url),
            Sent(url, "v", 1, 0, 10),
            Acknowledged(url, "v"),
            Rejected(url, (id_,), id_),
            Disconnected(f"{id_} did something else"),
        ):
            metrics.streams.observe(event)
        metrics.pushes.begun([id_], 0.0)
        metrics.pushes.settled(id_)
    assert series(metrics) == before
    assert values(metrics, "plimsoll_xds_connections_total") == {(): 100}
    assert values(metrics, "plimsoll_xds_unserved_total") == {(): 100}
    assert values(metrics, "plimsoll_xds_responses_total")["other",] == 100


def test_gauges_are_asked_for_when_they_are_read() -> None:
    metrics, open_streams = OwnMetrics(Plane(0.0)), [3]
    metrics.streams.show(streams=lambda: open_streams[0], queue_depth=lambda: open_streams[0] - 1)
    open_streams[0] = 7
    assert values(metrics, "plimsoll_xds_streams") == {(): 7}
    assert values(metrics, "plimsoll_xds_queue_depth") == {(): 6}
