"""What it all came to."""

import json
from collections import Counter
from typing import Any

import pytest

from controlplane.api.schema import ReplicaInShort
from controlplane.tools.demo.screen import Result
from controlplane.tools.load.envoy import Tally
from controlplane.tools.load.record import Series

KEYS = ["requests", "failed", "envoys", "p50_ms", "p99_ms", "replicas", "slowed"]


def tally() -> Tally:
    """Ten seconds, undisturbed until 3.5 and slowed until 6.0; one request a second for a."""
    counted = Tally()
    b = 0
    counted.add(0.0, {"one": {"a": 0, "b": 0}})
    for a, at in enumerate((0.9, 1.7, 2.6, 3.5, 4.2, 4.7, 5.5, 6.0, 8.0, 10.0), 1):
        b += 1 if at < 1.75 else 3 if at <= 3.5 else 5 if at <= 4.2 else 0
        counted.add(at, {"one": {"a": a, "b": b}})
    return counted


def outcome(*latencies: float, failed: int = 0) -> Series:
    made = Series(faults=Counter({"status 503": failed} if failed else {}))
    for latency in latencies:
        made.latency.add(latency)
    return made


def shown(id_: str, **known: Any) -> ReplicaInShort:
    return ReplicaInShort(id=id_, address="127.0.0.1:9001", state="ready", **known)


def result(series: Series | None = None, counted: Tally | None = None) -> Result:
    return Result.of(
        series or outcome(*(0.01 * n for n in range(1, 101))),
        counted or tally(),
        {
            "b": shown("b", capacity=40.04, p99_ms=71.23, tier="tier-8", weight=1000),
            "a": shown("a"),
        },
        envoys=2,
        slowed="b",
        seconds=10,
    )


def test_the_json_has_the_promised_keys_in_their_order() -> None:
    shown = json.loads(json.dumps(result().as_json()))
    assert list(shown) == KEYS
    assert shown["p50_ms"] == pytest.approx(500, rel=0.01)
    assert shown["p99_ms"] == pytest.approx(990, rel=0.01)
    assert shown["replicas"][1] == {
        "id": "b",
        "capacity": 40.0,
        "tier": "tier-8",
        "weight": 1000,
        "share": 0.667,
        "p99_ms": 71.2,
    }


def test_shares_are_compared_between_the_end_of_quiet_and_the_end_of_slowness() -> None:
    assert result().as_json()["slowed"] == {"id": "b", "share_before": 0.75, "share_after": 0.0}


def test_what_was_not_seen_is_null() -> None:
    shown = result(outcome(), Tally()).as_json()
    assert shown["p50_ms"] is None
    assert shown["slowed"] == {"id": "b", "share_before": None, "share_after": None}


def test_people_are_told_of_failures_and_their_kinds() -> None:
    said = result(outcome(0.02, failed=2)).sentences()
    assert said[0] == (
        "3 requests through 2 Envoys, 2 failed; half within 20 ms, 99 % within 20 ms"
    )
    assert said[-1] == "2 × status 503"


def test_people_are_told_what_the_slow_replica_got() -> None:
    assert "replica b got 75% of the requests, and 0% while it was slow" in result().sentences()


def test_a_replica_that_was_not_weighed_yet_is_unknown() -> None:
    (a, _) = result().as_json()["replicas"]
    assert (a["id"], a["capacity"], a["tier"], a["weight"]) == ("a", None, None, None)
