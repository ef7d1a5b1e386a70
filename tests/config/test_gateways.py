"""Classes that go through gateways; what cannot work is refused in one sentence."""

import pytest

from controlplane.config import Address, SettingsError, load_config
from controlplane.config.config import AdminSettings
from controlplane.config.errors import validated

POOL = """pools:
  - name: p
    model: m
    listener: {address: "127.0.0.1:10000"}
"""
LONG = '    balancing: {long_requests_via: ["10.0.0.5:10100"]}\n'
NAMED = '    classes: [{name: jobs, match: {min_bytes: 9}, via: ["10.0.0.5:10100"]}]\n'
BY_LENGTH, BY_CLASS = "balancing.long_requests_via", "classes[0].via"
GATEWAY = Address("10.0.0.5", 10100)


def refusal(more: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_config(POOL + more, "f.yaml")
    return str(caught.value)


def test_long_requests_or_named_classes_go_through_the_gateways_that_are_listed() -> None:
    by_length, named = (
        load_config(POOL + more, "f.yaml").pools[0].settings() for more in (LONG, NAMED)
    )
    assert by_length.gateways_of("bulk") == named.gateways_of("jobs") == (GATEWAY,)
    assert by_length.gateways_of("") == named.gateways_of("") == named.gateways_of("bulk") == ()
    assert load_config(POOL, "f.yaml").pools[0].gateways == {}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("    mesh: {mode: strict}\n", "does not go with mesh mode strict"),
        ("    upstream: {tls: {ca: /x}}\n", "does not go with upstream.tls"),
        ("    route: {hedge: 1s}\n", "does not go with route.hedge"),
        ("    scaling: {min_replicas: 0}\n", "does not go with scaling.min_replicas 0"),
    ],
)
def test_what_a_gateway_cannot_do_is_refused_of_both_keys(more: str, why: str) -> None:
    assert refusal(LONG + more).startswith(f"f.yaml:5: pools[0].{BY_LENGTH}: {why}")
    assert refusal(NAMED + more).startswith(f"f.yaml:5: pools[0].{BY_CLASS}: {why}")


@pytest.mark.parametrize(
    ("more", "where", "why"),
    [
        (
            "    health_check: {protocol: grpc}\n    upstream: {protocol: http2}\n" + LONG,
            f"7: pools[0].{BY_LENGTH}",
            "does not go with health_check.protocol grpc",
        ),
        (
            LONG.replace("}", ", policy: least-request}"),
            f"5: pools[0].{BY_LENGTH}",
            "needs policy capacity-tiers, not least-request",
        ),
        (
            LONG.replace("}", ", long_requests: any-replica}"),
            f"5: pools[0].{BY_LENGTH}",
            "does not go with long_requests: any-replica",
        ),
        (
            LONG + "    classes: [{name: jobs, match: {min_bytes: 9}}]\n",
            f"5: pools[0].{BY_LENGTH}",
            "is for requests that are parted by length",
        ),
        (
            LONG.replace("10.0.0.5:10100", "127.0.0.1:10000"),
            f"5: pools[0].{BY_LENGTH}[0]",
            "127.0.0.1:10000 is the pool's own listener",
        ),
        (
            LONG.replace("]", ', "10.0.0.5:10100"]'),
            f"5: pools[0].{BY_LENGTH}[1]",
            "10.0.0.5:10100 is already given above",
        ),
        (
            LONG + '    replicas: [{id: a, address: "10.0.0.5:10100"}]\n',
            "6: pools[0].replicas[0].address",
            "10.0.0.5:10100 is where an Envoy listens for pool 'p' as its gateway",
        ),
        (
            NAMED + '  - {name: q, model: m, listener: {address: "10.0.0.5:10100"}}\n',
            f"5: pools[0].{BY_CLASS}[0]",
            "10.0.0.5:10100 is where an Envoy listens for pool 'q'",
        ),
        (
            NAMED.replace("10.0.0.5", "gateway"),
            f"5: pools[0].{BY_CLASS}[0]",
            "'gateway' is a name",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused_with_its_key(
    more: str, where: str, why: str
) -> None:
    assert refusal(more).startswith(f"f.yaml:{where}: {why}")


def test_a_pool_that_the_api_puts_has_its_gateways_in_the_networks_of_replicas() -> None:
    pool = load_config(POOL + NAMED, "f.yaml").pools[0].settings()
    with pytest.raises(SettingsError, match="none of the networks") as caught:
        validated(AdminSettings, {"networks": ["10.1.0.0/16"]}).check_pool(pool)
    assert caught.value.path == ("classes", 0, "via", 0)
    validated(AdminSettings, {"networks": ["10.0.0.0/16"]}).check_pool(pool)
