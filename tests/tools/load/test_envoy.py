"""What Envoy's admin interface shows."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from controlplane.tools.load.envoy import (
    Hop,
    Host,
    Tally,
    grown,
    histograms,
    hops,
    hosts,
    hosts_of_all,
    query,
)


def host(name: str, requests: int | None, **health: object) -> dict[str, Any]:
    """A host as Envoy's admin interface shows it."""
    total = {"name": "rq_total", "type": "COUNTER"}
    if requests is not None:
        total["value"] = str(requests)
    return {
        "hostname": name,
        "stats": [{"name": "cx_total", "value": "77"}, total],
        "health_status": {"eds_health_status": "HEALTHY", **health},
    }


def clusters(*members: dict[str, Any], name: str = "minilm") -> dict[str, Any]:
    return {"cluster_statuses": [{"name": "plimsoll"}, {"name": name, "host_statuses": members}]}


def test_requests_are_read_by_replica() -> None:
    assert hosts(clusters(host("a", 12), host("b", 3)), "minilm") == {
        "a": Host(12, usable=True),
        "b": Host(3, usable=True),
    }


def test_requests_in_flight_and_those_that_wait_for_a_connection_are_read() -> None:
    busy = host("a", 12)
    busy["stats"] += [
        {"name": "rq_active", "type": "GAUGE", "value": "3"},
        {"name": "rq_pending_active", "type": "GAUGE", "value": "2"},
    ]
    assert hosts(clusters(busy), "minilm")["a"] == Host(12, usable=True, active=3, pending=2)


def test_a_host_without_a_name_is_called_by_its_address() -> None:
    nameless = host("", 1)
    nameless["address"] = {"socket_address": {"address": "10.0.0.1", "port_value": 80}}
    assert hosts(clusters(nameless), "minilm").keys() == {"10.0.0.1:80"}


def test_a_counter_that_is_left_out_is_zero() -> None:
    assert hosts(clusters(host("a", None)), "minilm")["a"].requests == 0


def test_other_clusters_do_not_count() -> None:
    assert hosts(clusters(host("a", 12), name="other"), "minilm") == {}


@pytest.mark.parametrize(
    "health",
    [
        {"failed_active_health_check": True},
        {"pending_active_hc": True},
        {"failed_outlier_check": True},
        {"eds_health_status": "DRAINING"},
    ],
)
def test_a_host_that_envoy_keeps_requests_from_is_not_usable(health: dict[str, object]) -> None:
    assert not hosts(clusters(host("a", 1, **health)), "minilm")["a"].usable


def test_a_counter_that_went_down_has_started_again() -> None:
    assert grown({"a": 100, "b": 5}, {"a": 7, "b": 6, "c": 2}) == {"a": 7, "b": 1, "c": 2}


def test_shares_are_of_all_envoys_together() -> None:
    tally = Tally()
    tally.add(0.0, {"one": {"a": 10, "b": 10}, "two": {"a": 0, "b": 0}})
    tally.add(0.5, {"one": {"a": 12, "b": 11}, "two": {"a": 4, "b": 1}})
    assert tally.shares(0.0, 1.0) == {"a": 0.75, "b": 0.25}


def test_what_was_there_before_the_first_sample_counts_for_nothing() -> None:
    tally = Tally()
    tally.add(0.0, {"one": {"a": 1000}})
    assert tally.shares(-1.0, 1.0) == {}


def test_an_envoy_that_did_not_answer_is_compared_with_its_last_answer() -> None:
    tally = Tally()
    tally.add(0.0, {"one": {"a": 1, "b": 1}})
    tally.add(0.5, {})
    tally.add(1.0, {"one": {"a": 4, "b": 2}})
    assert tally.shares(0.0, 1.0) == {"a": 0.75, "b": 0.25}


def test_a_share_is_of_the_samples_after_its_start_and_up_to_its_end() -> None:
    tally = Tally()
    for at, counted in enumerate((0, 1, 11, 111)):
        tally.add(float(at), {"one": {"a": counted, "b": at}})
    assert tally.shares(1.0, 2.0) == {"a": 10 / 11, "b": 1 / 11}


def test_the_cluster_of_a_class_is_counted_beside_the_pools_own() -> None:
    both = {
        "cluster_statuses": [
            *clusters(host("a", 12))["cluster_statuses"],
            *clusters(host("a", 3), name="minilm:bulk")["cluster_statuses"],
            *clusters(host("a", 4), name="minilm_bulk")["cluster_statuses"],
        ]
    }
    found = hosts_of_all({"e1": both, "e2": clusters(host("a", 5)), "e3": None}, "minilm")
    assert {name: item["a"].requests for name, item in found.items()} == {
        "e1": 12, "e1 (minilm:bulk)": 3, "e2": 5,
    }  # fmt: skip


def answer(**histograms: dict[float, int]) -> dict[str, Any]:
    """What ``/stats`` says, as Envoy 1.40 does."""
    names = {"up": "cluster.m.upstream_rq_time", "down": "http.m.downstream_rq_time"}
    return {
        "stats": [
            {
                "histograms": [
                    {
                        "name": names[which],
                        "buckets": [
                            {"upper_bound": bound, "interval": 0, "cumulative": count}
                            for bound, count in buckets.items()
                        ],
                    }
                    for which, buckets in histograms.items()
                ]
            }
        ]
    }


def test_only_the_histograms_of_the_pool_are_asked_for() -> None:
    asked = parse_qs(urlsplit(query("a.b", ["a.b", "a.b:bulk"])).query)
    (wanted,) = asked["filter"]
    for name in (
        "http.a.b.downstream_rq_time",
        "cluster.a.b.upstream_rq_time",
        "cluster.a.b_bulk.upstream_rq_time",
    ):
        assert re.search(wanted, name)
    for name in ("cluster.axb.upstream_rq_time", "cluster.a.b_c.upstream_rq_time", "x.upstream"):
        assert not re.search(wanted, name)
    assert asked["histogram_buckets"] == ["cumulative"]


def test_what_was_there_before_does_not_count() -> None:
    before = histograms(answer(up={1: 1000, 5: 1000, 10: 1000}))
    after = histograms(answer(up={1: 1000, 5: 1060, 10: 1100}))
    assert hops(before, after) == {"upstream": Hop(100, p50=0.005, p99=0.01)}


def test_the_time_in_envoy_and_that_for_replicas_are_told_apart() -> None:
    after = histograms(answer(up={1: 10, 5: 10}, down={1: 0, 5: 10}))
    assert hops({}, after) == {
        "upstream": Hop(10, 0.001, 0.001),
        "downstream": Hop(10, 0.005, 0.005),
    }


def test_what_both_clusters_of_a_pool_counted_is_added_up() -> None:
    own, long = answer(up={1: 10, 5: 20}), answer(up={1: 1, 5: 5})
    both = {"stats": [*own["stats"], *long["stats"]]}
    assert hops({}, histograms(both))["upstream"].requests == 25


def test_an_envoy_that_started_anew_counts_from_zero() -> None:
    before, after = histograms(answer(up={1: 100})), histograms(answer(up={1: 7}))
    assert hops(before, after)["upstream"].requests == 7


def test_without_a_request_there_is_nothing_to_tell() -> None:
    same = histograms(answer(up={1: 100}))
    assert hops(same, same) == {}
    assert hops({}, histograms({"stats": []})) == {}
