import pytest

from controlplane.config import Address, Config, validated
from controlplane.fleet import PutPool, Refused
from controlplane.plane import Plane
from controlplane.resources.views import View
from tests.fleet.fleets import file, pool_settings, put


def plane_with(**replicas: int) -> Plane:
    plane = Plane(0.0)
    plane.apply(PutPool("p", pool_settings(10000)), 0.0)
    for id_, port in replicas.items():
        plane.apply(put(id_, port), 0.0)
    return plane


def view(**listen: int) -> View:
    return View.of({"plimsoll": {"listen": {k: f"127.0.0.1:{v}" for k, v in listen.items()}}})


def test_an_envoy_that_listens_where_a_replica_is_is_not_served() -> None:
    plane = plane_with(a=1, b=2)
    said = plane.envoy_came("stream", "n", view(p=2))
    assert said is not None
    assert said.startswith(
        "replica 'b' of pool 'p': 127.0.0.1:2 is where an Envoy listens for pool 'p' on node 'n'"
    )
    assert plane.envoy_came("stream", "n", view(p=3)) is None


def test_a_gateway_that_listens_everywhere_listens_on_loopback() -> None:
    plane = plane_with(a=1)
    metadata = {"plimsoll": {"role": "gateway", "listen": {"*": "0.0.0.0:1"}}}
    said = plane.envoy_came("stream", "n", View.of(metadata))
    assert said is not None
    assert "for the gateway 'n', on 0.0.0.0:1" in said


def test_a_file_is_refused_that_has_a_replica_where_an_envoy_listens_for_as_long_as_it_does() -> (
    None
):
    plane = plane_with()
    for stream in ("one", "two"):
        assert plane.envoy_came(stream, "n", view(p=7)) is None
    config: Config = validated(Config, file(p={"a": 7}).model_dump(mode="json"))
    plane.envoy_left("one")
    with pytest.raises(Refused, match=r"replica 'a' of pool 'p': 127\.0\.0\.1:7 is where an Envoy"):
        plane.refuse_at_listeners(config)
    plane.envoy_left("two")
    plane.refuse_at_listeners(config)
    assert plane.listeners.listeners.refusal(Address("127.0.0.1", 7)) is None
