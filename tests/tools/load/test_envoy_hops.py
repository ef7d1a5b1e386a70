"""Envoy's own histograms."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from controlplane.tools.load.envoy_hops import Hop, histograms, hops, query


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
