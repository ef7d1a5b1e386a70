"""Each command's rule, what it refuses, and that a refusal changes nothing."""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.fleet import (
    Command,
    DeletePool,
    DeleteReplica,
    Drain,
    Draining,
    Fleet,
    Heartbeat,
    PutPool,
    Refused,
    Source,
    Undrain,
)
from tests.fleet.fleets import (
    a_pool,
    after,
    applied,
    expired,
    pool_settings,
    ports,
    put,
    refusal,
    replica,
)


def test_a_pool_starts_without_replicas() -> None:
    assert a_pool().pool("p").replicas == {}


def test_a_pool_put_again_has_the_new_settings() -> None:
    fleet = after(PutPool("p", pool_settings(model="other")), fleet=a_pool())
    assert fleet.pool("p").settings.model == "other"


def test_a_pool_put_again_keeps_its_replicas() -> None:
    fleet = a_pool(a=1, b=2)
    again = after(PutPool("p", pool_settings(model="other")), fleet=fleet)
    assert again.pool("p").replicas == fleet.pool("p").replicas


def test_what_is_put_is_the_apis_unless_the_file_says_so() -> None:
    fleet = a_pool(a=1)
    assert (fleet.pool("p").source, replica(fleet).source) == (Source.API, Source.API)


def test_two_pools_cannot_have_one_listener() -> None:
    assert str(refusal(PutPool("q", pool_settings()), a_pool())) == (
        "listener address 127.0.0.1:10000 is already that of pool 'p'"
    )


def test_a_removed_pool_is_gone_with_its_replicas() -> None:
    assert after(DeletePool("p"), fleet=a_pool(a=1)).pools == {}


def test_a_removed_pools_listener_is_free_again() -> None:
    fleet = after(DeletePool("p"), PutPool("q", pool_settings()), fleet=a_pool())
    assert list(fleet.pools) == ["q"]


def test_a_removed_replica_is_gone() -> None:
    assert ports(after(DeleteReplica("p", "a"), fleet=a_pool(a=1, b=2))) == {"b": 2}


def test_two_replicas_of_a_pool_cannot_have_one_address() -> None:
    assert str(refusal(put("b", 1), a_pool(a=1))) == (
        "address 127.0.0.1:1 is already that of replica 'a'"
    )


def test_replicas_of_two_pools_may_have_one_address() -> None:
    fleet = after(PutPool("q", pool_settings(10001)), put("a", 1, pool="q"), fleet=a_pool(a=1))
    assert ports(fleet, "q") == {"a": 1}


def test_a_replica_put_again_keeps_its_generation() -> None:
    fleet = a_pool(a=1)
    assert replica(after(put("a", 1, slots=4), fleet=fleet)).generation == replica(fleet).generation


def test_a_replica_put_again_has_the_new_settings() -> None:
    assert replica(after(put("a", 1, slots=4), fleet=a_pool(a=1))).settings.slots == 4


def test_a_replica_at_another_address_is_another_generation() -> None:
    fleet = a_pool(a=1)
    assert replica(after(put("a", 2), fleet=fleet)).generation != replica(fleet).generation


def test_a_replica_removed_and_registered_again_is_another_generation() -> None:
    fleet = a_pool(a=1)
    again = after(DeleteReplica("p", "a"), put("a", 1), fleet=fleet)
    assert replica(again).generation != replica(fleet).generation


def test_a_replica_back_at_its_first_address_is_a_third_generation() -> None:
    fleets = [fleet := a_pool(a=1), fleet := after(put("a", 2), fleet=fleet)]
    fleets.append(after(put("a", 1), fleet=fleet))
    assert len({replica(fleet).generation for fleet in fleets}) == 3


def test_generations_do_not_start_again_with_a_pool() -> None:
    fleet = a_pool(a=1)
    again = after(DeletePool("p"), PutPool("p", pool_settings()), put("a", 1), fleet=fleet)
    assert replica(again).generation != replica(fleet).generation


def test_a_drained_replica_is_kept() -> None:
    assert replica(after(Drain("p", "a"), fleet=a_pool(a=1))).draining is Draining.OPERATOR


def test_an_undrained_replica_is_as_before() -> None:
    fleet = a_pool(a=1)
    assert after(Drain("p", "a"), Undrain("p", "a"), fleet=fleet) == fleet


def test_what_an_operator_drained_stays_drained_when_it_registers_again() -> None:
    fleet = after(Drain("p", "a"), put("a", 1), fleet=a_pool(a=1))
    assert replica(fleet).draining is Draining.OPERATOR


def test_what_an_operator_drained_stays_drained_when_it_sends_a_heartbeat() -> None:
    fleet = after(put("a", 1, ttl="30s"), Drain("p", "a"), Heartbeat("p", "a"), fleet=a_pool())
    assert replica(fleet).draining is Draining.OPERATOR


def test_a_replica_without_a_ttl_has_no_lease() -> None:
    assert replica(a_pool(a=1)).lease_until is None


def test_a_lease_lasts_for_the_ttl() -> None:
    assert replica(after(put("a", 1, ttl="30s"), fleet=a_pool(), now=100)).lease_until == 130


def test_a_heartbeat_renews_the_lease() -> None:
    fleet = after(put("a", 1, ttl="30s"), fleet=a_pool(), now=100)
    assert replica(after(Heartbeat("p", "a"), fleet=fleet, now=120)).lease_until == 150


def test_registering_again_renews_the_lease() -> None:
    fleet = after(put("a", 1, ttl="30s"), fleet=a_pool(), now=100)
    assert replica(after(put("a", 1, ttl="60s"), fleet=fleet, now=120)).lease_until == 180


def test_registering_again_without_a_ttl_ends_the_lease() -> None:
    fleet = after(put("a", 1, ttl="30s"), put("a", 1), fleet=a_pool())
    assert replica(fleet).lease_until is None


@pytest.mark.parametrize("sign_of_life", [put("a", 1, ttl="30s"), Heartbeat("p", "a")])
def test_a_sign_of_life_ends_the_draining_of_a_lease_that_had_run_out(
    sign_of_life: Command,
) -> None:
    fleet = expired(after(put("a", 1, ttl="30s"), fleet=a_pool()), 31)
    assert replica(fleet).draining is Draining.LEASE
    assert replica(after(sign_of_life, fleet=fleet, now=32)).draining is None


def test_a_replica_whose_lease_has_run_out_is_not_undrained_but_renewed() -> None:
    fleet = expired(after(put("a", 1, ttl="30s"), fleet=a_pool()), 31)
    refused = refusal(Undrain("p", "a"), fleet)
    assert refused.kind == "conflict"
    assert "a heartbeat renews it" in str(refused)


def test_a_heartbeat_without_a_lease_is_refused() -> None:
    refused = refusal(Heartbeat("p", "a"), a_pool(a=1))
    assert (refused.kind, str(refused)) == (
        "conflict",
        "replica 'a' has no ttl, so it needs no heartbeat",
    )


@pytest.mark.parametrize(
    "command",
    [
        *(DeletePool("q"), put("a", 1, pool="q"), DeleteReplica("q", "a"), Drain("q", "a")),
        *(Undrain("q", "a"), Heartbeat("q", "a")),
    ],
)
def test_a_pool_that_is_not_there_is_not_found(command: Command) -> None:
    refused = refusal(command, a_pool(a=1))
    assert (refused.kind, str(refused)) == ("not found", "there is no pool 'q'")


@pytest.mark.parametrize(
    "command", [DeleteReplica("p", "z"), Drain("p", "z"), Undrain("p", "z"), Heartbeat("p", "z")]
)
def test_a_replica_that_is_not_there_is_not_found(command: Command) -> None:
    refused = refusal(command, a_pool(a=1))
    assert (refused.kind, str(refused)) == ("not found", "pool 'p' has no replica 'z'")


POOLS, IDS, PORTS = st.sampled_from("pq"), st.sampled_from("ab"), st.integers(1, 3)
COMMANDS = st.one_of(
    st.builds(lambda pool, port: PutPool(pool, pool_settings(port)), POOLS, PORTS),
    st.builds(lambda pool, id_, port: put(id_, port, pool=pool), POOLS, IDS, PORTS),
    st.builds(lambda pool, id_, port: put(id_, port, pool=pool, ttl="1s"), POOLS, IDS, PORTS),
    st.builds(DeletePool, POOLS),
    st.builds(DeleteReplica, POOLS, IDS),
    st.builds(Drain, POOLS, IDS),
    st.builds(Undrain, POOLS, IDS),
    st.builds(Heartbeat, POOLS, IDS),
)


def tried(fleet: Fleet, command: Command, now: float) -> Fleet:
    try:
        return applied(fleet, command, now)
    except Refused:
        return fleet


@given(st.lists(COMMANDS, max_size=15))
def test_no_command_changes_the_fleet_it_is_applied_to(commands: list[Command]) -> None:
    fleet = Fleet()
    for now, command in enumerate(commands):
        before = deepcopy(fleet)
        changed = tried(fleet, command, now)
        assert fleet == before
        fleet = changed


@given(st.lists(COMMANDS, max_size=15))
def test_whatever_the_commands_addresses_differ_within_a_pool(commands: list[Command]) -> None:
    fleet = Fleet()
    for now, command in enumerate(commands):
        fleet = tried(fleet, command, now)
    for name in fleet.pools:
        used = ports(fleet, name)
        assert len(set(used.values())) == len(used)


@given(st.lists(COMMANDS, max_size=15))
def test_whatever_the_commands_no_two_processes_share_a_generation(commands: list[Command]) -> None:
    fleet, processes = Fleet(), dict[int, tuple[str, str, int]]()
    for now, command in enumerate(commands):
        fleet = tried(fleet, command, now)
        for name, pool in fleet.pools.items():
            for id_, item in pool.replicas.items():
                process = (name, id_, item.settings.address.port)
                assert processes.setdefault(item.generation, process) == process


def test_another_process_at_the_same_address_is_another_generation_and_is_not_drained() -> None:
    fleet = after(put("a", 1, instance="one"), Drain("p", "a"), fleet=a_pool())
    again = after(put("a", 1, instance="two"), fleet=fleet)
    assert replica(again).generation != replica(fleet).generation
    assert replica(again).draining is None


@pytest.mark.parametrize("instance", [{"instance": "one"}, {}])
def test_the_same_process_or_one_that_does_not_say_keeps_its_generation(
    instance: dict[str, str],
) -> None:
    fleet = after(put("a", 1, instance="one"), Drain("p", "a"), fleet=a_pool())
    again = after(put("a", 1, slots=2, **instance), fleet=fleet)
    assert replica(again).generation == replica(fleet).generation
    assert replica(again).draining is Draining.OPERATOR
