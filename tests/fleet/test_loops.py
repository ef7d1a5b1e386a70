"""No replica comes to be where an Envoy listens, whoever declares the one or the other."""

from dataclasses import replace

import pytest

from controlplane.config import Address
from controlplane.config.addresses import Listeners
from controlplane.fleet import (
    Command,
    DeletePool,
    DeleteReplica,
    Fleet,
    PutPool,
    PutReplicas,
    Refused,
    listeners_of,
    registered,
    restored,
)
from tests.fleet.fleets import (
    a_pool,
    after,
    declared,
    discovered,
    file,
    pool_settings,
    put,
    refusal,
    replica_settings,
)

LOOP = "is where an Envoy listens for pool '{}'"


@pytest.mark.parametrize(
    ("command", "pool"),
    [
        (put("b", 10000), "p"),
        (put("b", 10001), "q"),
        # One that was somewhere else moves there.
        (put("a", 10001), "q"),
        (PutReplicas("p", {"a": replica_settings(1), "b": replica_settings(10001)}), "q"),
        (PutPool("p", pool_settings(1)), "p"),
        (PutPool("q", pool_settings(1)), "q"),
        (PutPool("new", pool_settings(1)), "new"),
    ],
)
def test_the_api_refuses_a_replica_at_a_listener_and_a_listener_at_a_replica(
    command: Command, pool: str
) -> None:
    fleet = after(PutPool("q", pool_settings(10001)), fleet=a_pool(a=1))
    with pytest.raises(Refused, match=LOOP.format(pool)) as refused:
        after(command, fleet=fleet)
    assert refused.value.kind == "conflict"


def test_a_replica_may_take_an_address_that_a_listener_has_left() -> None:
    fleet = after(PutPool("p", pool_settings(10002)), put("b", 10000), fleet=a_pool(a=1))
    assert set(fleet.pools["p"].replicas) == {"a", "b"}


def test_a_file_is_refused_that_has_a_listener_where_the_api_has_a_replica() -> None:
    fleet = after(put("b", 5), fleet=declared(file(p={"a": 1})))
    with pytest.raises(Refused, match=LOOP.format("p")):
        declared(file(p={"a": 1}, listeners={"p": 5}), fleet)
    with pytest.raises(Refused, match=LOOP.format("p")):
        restored(registered(fleet), file(p={"a": 1}, listeners={"p": 5}), 1.0)


def test_what_the_api_gives_back_to_the_file_is_looked_at_as_well() -> None:
    fleet = declared(file(p={"a": 1}, listeners={"p": 5}))
    fleet = after(PutPool("p", pool_settings(6)), put("b", 5), fleet=fleet)
    with pytest.raises(Refused, match=LOOP.format("p")):
        after(DeletePool("p"), fleet=fleet)


def test_one_that_is_discovered_at_a_listener_is_not_used_and_why_is_said() -> None:
    moved = Listeners([(Address("127.0.0.1", 3), "pool 'p' on node 'n'")])
    sets = {
        "dns": {"a": replica_settings(10000), "b": replica_settings(2), "c": replica_settings(3)}
    }
    fleet = a_pool()
    merged = discovered(
        fleet, "p", sets, lambda _: True, 0.0, listeners=(listeners_of(fleet), moved)
    )
    assert set(merged.fleet.pools["p"].replicas) == {"b"}
    first, second = merged.clashes
    assert first.startswith("dns: 'a' is not used, 127.0.0.1:10000 is where an Envoy listens")
    assert "127.0.0.1:3 is where an Envoy listens for pool 'p' on node 'n'" in second


def test_one_that_was_discovered_before_a_restart_is_gone_when_a_listener_is_there() -> None:
    config = file(p={}, sources={"p": ["found"]})
    (source,) = config.pools[0].discovery
    found = {str(source): {"b": replica_settings(5)}}
    fleet = discovered(declared(config), "p", found, lambda _: True, 0.0).fleet
    assert set(fleet.pools["p"].replicas) == {"b"}
    moved = file(p={}, sources={"p": ["found"]}, listeners={"p": 5})
    assert not restored(registered(fleet), moved, 1.0).pools["p"].replicas


def test_what_the_api_said_before_loops_were_refused_does_not_keep_it_from_starting() -> None:
    fleet = after(PutPool("q", pool_settings(10001)), fleet=a_pool(a=1))
    known = registered(fleet)
    loop = replace(known.replicas["p", "a"], settings=replica_settings(10001))
    known = replace(known, replicas={("p", "a"): loop})
    again = restored(known, file(), 1.0)
    assert set(again.pools["p"].replicas) == {"a"}
    assert not after(DeleteReplica("p", "a", force=True), fleet=again).pools["p"].replicas


def ingress(port: int) -> str:
    return f"127.0.0.1:{port}"


def two_pools() -> Fleet:
    """A pool `p` with an ingress at port 2 before its replica at port 1, and a pool `q`."""
    pools = [PutPool("p", pool_settings()), PutPool("q", pool_settings(10001))]
    return after(*pools, put("a", 1, ingress=ingress(2)))


@pytest.mark.parametrize(
    ("port", "behind", "why"),
    [
        (2, 1, "127.0.0.1:2 is the ingress of replica 'a'"),
        (2, 3, "127.0.0.1:2 is the ingress of replica 'a'"),
        (3, 1, "127.0.0.1:1 is where replica 'a' of pool 'p' serves"),
    ],
)
def test_an_ingress_does_not_hand_requests_to_another(port: int, behind: int, why: str) -> None:
    refused = refusal(put("b", port, pool="q", ingress=ingress(behind)), two_pools())
    assert (refused.kind, refused.replica) == ("conflict", "b")
    assert why in str(refused)


def test_pools_may_share_a_replica_and_its_ingress() -> None:
    fleet = after(put("b", 1, pool="q", ingress=ingress(2)), fleet=two_pools())
    assert fleet.pools["q"].replicas["b"].settings.ingress == Address("127.0.0.1", 2)
    # Without an ingress of its own the replica of another pool is behind this one, and no loop.
    assert after(put("b", 2, pool="q"), fleet=two_pools()).pools["q"].replicas
    # It may change both, as long as nobody else is there.
    assert after(put("a", 2, ingress=ingress(1)), fleet=two_pools()).pools["p"].replicas


def test_a_file_of_crossed_ingresses_is_refused() -> None:
    config = file(p={"a": 1}, q={"b": 2}, listeners={"p": 10, "q": 11})
    crossed = [
        pool.model_copy(
            update={
                "replicas": tuple(
                    each.model_copy(update={"ingress": Address("127.0.0.1", other)})
                    for each in pool.replicas
                )
            }
        )
        for pool, other in zip(config.pools, (2, 1), strict=True)
    ]
    config = config.model_copy(update={"pools": tuple(crossed)})
    with pytest.raises(Refused, match="hands requests to a replica, not to another ingress"):
        declared(config)
    with pytest.raises(Refused, match="hands requests to a replica, not to another ingress"):
        restored(registered(Fleet()), config, 1.0)


def test_one_that_is_discovered_behind_another_ingress_is_not_used() -> None:
    sets = {"docker": {"b": replica_settings(2, ingress=ingress(1)), "c": replica_settings(7)}}
    found = discovered(two_pools(), "q", sets, lambda _: True, 0.0)
    assert set(found.fleet.pools["q"].replicas) == {"c"}
    assert "not to another ingress" in found.clashes[0]


def test_one_whose_ingress_is_discovered_at_a_listener_is_not_used() -> None:
    sets = {"docker": {"b": replica_settings(5, ingress=ingress(10000))}}
    found = discovered(two_pools(), "q", sets, lambda _: True, 0.0)
    assert not found.fleet.pools["q"].replicas
    assert "is where an Envoy listens for pool 'p'" in found.clashes[0]
