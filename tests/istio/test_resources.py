"""What istiod is given of pools: hosts, replicas, weights, and nothing that it would throw away."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.config import Address
from controlplane.config.config import IstioSettings
from controlplane.istio.resources import configure
from controlplane.protos import istio_pb2 as pb
from controlplane.resources.endpoints import EndpointWeight, members
from tests.fleet.fleets import after, put
from tests.istio.decoded import (
    SETTINGS,
    a_pool,
    catalog,
    configured,
    destination_rule,
    endpoints,
    made,
    one,
    read,
    service_entry,
)

FAST, SLOW = EndpointWeight("tier-4", 400), EndpointWeight("tier-1", 100)


def test_a_pool_is_a_host_of_the_mesh_with_one_port() -> None:
    entry = service_entry(one())
    assert list(entry.hosts) == ["p.plimsoll.internal"]
    assert [(port.number, port.protocol) for port in entry.ports] == [(80, "HTTP")]
    assert entry.location == pb.ServiceEntry.MESH_INTERNAL
    assert entry.resolution == pb.ServiceEntry.STATIC


def test_namespace_domain_and_port_are_those_of_the_config() -> None:
    settings = IstioSettings(
        address=Address("127.0.0.1", 0), namespace="models", domain="embed.example", port=8080
    )
    found = configure(catalog(a_pool(), {}).pools, settings).pools["p"][1]
    assert read(found.service_entry.packed, "ServiceEntry").name == "models/p"
    assert read(found.destination_rule.packed, "DestinationRule").name == "models/p"
    assert list(service_entry(found).hosts) == ["p.embed.example"]
    assert destination_rule(found).host == "p.embed.example"
    assert service_entry(found).ports[0].number == 8080


def test_a_tier_is_the_part_of_a_zone_that_a_replica_is_in() -> None:
    fleet = after(
        put("a", 9000, locality={"region": "eu", "zone": "x"}),
        put("b", 9001),
        put("c", 9002, locality={"region": "e/u"}),
        fleet=a_pool(),
    )
    found = endpoints(made(fleet, {"a": FAST, "b": SLOW, "c": SLOW}))
    assert {at: item.locality for at, item in found.items()} == {
        "127.0.0.1:9000": "eu/x/tier-4",
        "127.0.0.1:9001": "//tier-1",
        "127.0.0.1:9002": "e-u//tier-1",
    }
    assert {at: each.weight for at, each in found.items()} == {
        "127.0.0.1:9000": 400,
        "127.0.0.1:9001": 100,
        "127.0.0.1:9002": 100,
    }


def test_replicas_that_drain_are_not_well_or_not_ready_are_left_out() -> None:
    fleet = after(*(put(id_, 9000 + i) for i, id_ in enumerate("abcd")), fleet=a_pool())
    drains, is_ill = (
        EndpointWeight("tier-1", 100, draining=True),
        EndpointWeight("tier-1", 100, healthy=False),
    )
    assert endpoints(made(fleet, {"a": SLOW, "b": drains, "c": is_ill})).keys() == {
        "127.0.0.1:9000"
    }


def test_where_none_is_well_the_control_plane_is_more_likely_wrong() -> None:
    fleet = after(put("a", 9000), put("b", 9001), fleet=a_pool())
    is_ill = EndpointWeight("tier-1", 100, healthy=False)
    assert len(endpoints(made(fleet, {"a": is_ill, "b": is_ill}))) == 2


def test_a_meshed_replica_is_reached_at_its_ingress() -> None:
    assert endpoints(one(9000, ingress="127.0.0.1:9443")).keys() == {"127.0.0.1:9443"}


def test_labels_of_a_replica_that_istio_takes_are_passed_on() -> None:
    labels = {
        "security.istio.io/tlsMode": "istio",
        "version": "v2",
        "istio-locality": "us.west",
        "topology.istio.io/locality": "us",
        "balanced-by": "others",
        "image": "registry.example/tei:1.8",
        "ends-badly-": "x",
        "empty": "",
    }
    (found,) = endpoints(one(labels=labels)).values()
    assert dict(found.labels) == {
        "security.istio.io/tlsMode": "istio",
        "version": "v2",
        "empty": "",
        "balanced-by": "plimsoll",
    }


def test_other_labels_alone_make_another_version() -> None:
    fleet = after(put("a", 9000), fleet=a_pool())
    before = catalog(fleet, {"a": SLOW})
    known = configure(before.pools, SETTINGS)
    labelled = after(put("a", 9000, labels={"version": "v2"}), fleet=fleet)
    found = configure(catalog(labelled, {"a": SLOW}, before).pools, SETTINGS, known)
    assert found.pools["p"][1].service_entry != known.pools["p"][1].service_entry


@pytest.mark.parametrize(
    ("settings", "protocol"),
    [
        ({}, "HTTP"),
        ({"upstream": {"protocol": "http2"}}, "HTTP2"),
        ({"upstream": {"protocol": "http2"}, "health_check": {"protocol": "grpc"}}, "GRPC"),
    ],
)
def test_the_port_speaks_what_the_replicas_speak(settings: dict[str, Any], protocol: str) -> None:
    assert service_entry(made(a_pool(**settings), {})).ports[0].protocol == protocol


@pytest.mark.parametrize(
    ("balancing", "expected"),
    [
        ({"policy": "capacity-tiers"}, "simple: LEAST_REQUEST"),
        ({"policy": "weighted-least-request"}, "simple: LEAST_REQUEST"),
        ({"policy": "least-request"}, "simple: LEAST_REQUEST"),
        ({"policy": "round-robin"}, "simple: ROUND_ROBIN"),
        ({"policy": "client-side-weighted-round-robin"}, "simple: ROUND_ROBIN"),
        (
            {"policy": "ring-hash", "hash": {"header": "x-user"}},
            'consistent_hash { http_header_name: "x-user" ring_hash { } }',
        ),
        (
            {"policy": "maglev", "hash": {"source_address": True}},
            "consistent_hash { use_source_ip: true maglev { table_size: 65537 } }",
        ),
        (
            {"policy": "maglev", "hash": {"cookie": "session", "ttl": "60s"}},
            'consistent_hash { http_cookie { name: "session" ttl { seconds: 60 } }'
            " maglev { table_size: 65537 } }",
        ),
    ],
)
def test_a_policy_is_the_one_of_istio_that_comes_closest(
    balancing: dict[str, object], expected: str
) -> None:
    policy = destination_rule(made(a_pool(balancing=balancing), {})).traffic_policy
    said = re.sub(r"\s+", " ", str(policy.load_balancer))
    assert said.startswith(expected)


def test_what_makes_weights_of_tiers_count_is_in_every_rule() -> None:
    policy = destination_rule(one()).traffic_policy
    locality = policy.load_balancer.locality_lb_setting
    assert locality.enabled.value
    assert list(locality.failover_priority) == ["balanced-by=plimsoll"]
    assert policy.HasField("outlier_detection")


def test_a_host_of_that_name_that_somebody_else_has_made_is_older() -> None:
    assert read(one().service_entry.packed, "ServiceEntry").year == 9999


@pytest.mark.parametrize(
    ("name", "settings", "why"),
    [
        ("Mini_LM", {}, "its name cannot begin a host name"),
        ("a.-b", {}, "its name cannot begin a host name"),
        ("p-", {}, "its name cannot begin a host name"),
        ("p", {"upstream": {"tls": {"ca": "system"}}}, "its replicas speak TLS"),
        ("p", {"mesh": {"mode": "strict"}}, "its mesh is strict"),
    ],
)
def test_a_pool_that_istio_would_throw_away_or_not_reach_is_left_out(
    name: str, settings: dict[str, object], why: str
) -> None:
    found = configured(a_pool(name, **settings), {})
    assert not found.pools
    assert found.left_out[name].startswith(why)


def test_the_others_are_given_all_the_same() -> None:
    fleet = after(put("a", 9000), fleet=a_pool())
    pools = {**catalog(fleet, {"a": SLOW}).pools, **catalog(a_pool("Bad_"), {}).pools}
    found = configure(pools, SETTINGS)
    assert (list(found.pools), list(found.left_out)) == (["p"], ["Bad_"])
    assert len(found.of("ServiceEntry")) == len(found.of("DestinationRule")) == 1
    assert found.of("VirtualService") == []


def test_only_what_has_changed_is_encoded_anew() -> None:
    fleet = after(put("a", 9000), fleet=a_pool())
    before = catalog(fleet, {"a": SLOW})
    known = configure(before.pools, SETTINGS)
    assert configure(before.pools, SETTINGS, known).pools["p"][1] is known.pools["p"][1]
    after_ = configure(catalog(fleet, {"a": FAST}, before).pools, SETTINGS, known)
    assert after_.pools["p"][1].service_entry.version != known.pools["p"][1].service_entry.version
    assert after_.pools["p"][1].destination_rule == known.pools["p"][1].destination_rule


# The rules of istio/pkg/config/labels and istio/pkg/config/validation, written down a second time.
TAG_KEY = re.compile(
    r"([a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?)*/)?"
    r"((?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])"
)
TAG_VALUE = re.compile(r"((?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
HOST = re.compile(
    r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*"
)

HELD = catalog(a_pool(), {}).pools["p"]

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
labels = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9._/:@+-]{0,128}", fullmatch=True),
    max_size=4,
)
places = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,8}", fullmatch=True) | st.none()


@given(
    name=names,
    labels=labels,
    region=places,
    zone=places,
    weight=st.integers(1, 2**32 - 1),
)
def test_whatever_a_pool_is_called_and_has_istio_finds_it_valid(
    name: str, labels: dict[str, str], region: str | None, zone: str | None, weight: int
) -> None:
    replica = put("a", 9000, pool=name, labels=labels, locality={"region": region, "zone": zone})
    pool = after(replica, fleet=a_pool(name)).pool(name)
    listed = members(pool, {"a": EndpointWeight("tier-1", weight)})
    found = configure({name: replace(HELD, pool=pool, members=listed)}, SETTINGS)
    if not found.pools:
        assert found.left_out.keys() == {name}
        return
    (_, made_) = found.pools[name]
    (host,) = service_entry(made_).hosts
    assert HOST.fullmatch(host)
    assert len(host) <= 253
    assert all(len(item) <= 63 for item in host.split("."))
    (endpoint,) = endpoints(made_).values()
    for key, value in endpoint.labels.items():
        match = TAG_KEY.fullmatch(key)
        assert match is not None
        assert len(match[2]) <= 63
        assert TAG_VALUE.fullmatch(value)
    assert endpoint.locality.count("/") == 2
    assert endpoint.weight == weight
