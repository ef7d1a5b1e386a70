"""What Envoys can come to be told of a fleet of which only the declaration is known."""

from typing import Any

import pytest

from controlplane.config import PoolSettings, validated
from controlplane.fleet import Fleet, PutPool
from controlplane.plane import catalog_if_healthy
from controlplane.resources.catalog import Catalog
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from tests.fleet.fleets import after, put


def of(count: int, classes: object = None, **balancing: object) -> Catalog:
    body: dict[str, Any] = {
        "model": "m",
        "listener": {"address": "127.0.0.1:10000"},
        "balancing": balancing,
        "classes": classes,
    }
    pool = PutPool("p", validated(PoolSettings, body))
    return catalog_if_healthy(after(pool, *(put(f"r{i}", 9000 + i) for i in range(count))))


def test_every_replica_is_told_of_though_none_was_asked() -> None:
    (held,) = of(3, long_requests="any-replica").pools.values()
    assert [(member.id, member.draining) for member in held.members] == [
        ("r0", False),
        ("r1", False),
        ("r2", False),
    ]
    assert {url: len(found) for url, found in held.resources.items()} == {
        CLUSTER: 2,
        ENDPOINT: 1,
        SECRET: 0,
        LISTENER: 1,
        ROUTE: 1,
    }


def test_requests_are_parted_by_length_wherever_they_may_come_to_be() -> None:
    (held,) = of(2).pools.values()
    assert [item.name for item in held.resources[ENDPOINT]] == ["p", "p:bulk"]
    assert {
        request_class.name: (set(request_class.endpoint_weights), request_class.routed)
        for request_class in held.parting.classes
    } == {
        "bulk": ({"r0"}, True),
        "": ({"r1"}, True),
    }


def test_classes_that_are_named_take_the_place_of_that() -> None:
    classes = [{"name": "x", "match": {"prefix": "/x"}}, {"name": "y", "match": {"min_bytes": 9}}]
    (held,) = of(2, classes).pools.values()
    assert [item.name for item in held.resources[ENDPOINT]] == ["p", "p:x", "p:y"]


@pytest.mark.parametrize(
    ("count", "balancing"),
    [
        (1, {}),
        (2, {"long_requests": "any-replica"}),
        (2, {"policy": "least-request"}),
    ],
)
def test_requests_are_not_parted_where_they_never_are(
    count: int, balancing: dict[str, str]
) -> None:
    (held,) = of(count, **balancing).pools.values()
    assert not held.parting.classes


def test_of_no_pools_nothing_is_told() -> None:
    assert catalog_if_healthy(Fleet()).pools == {}
