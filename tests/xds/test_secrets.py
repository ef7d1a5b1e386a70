"""Secrets are one stream's alone, whatever streams share of all else."""

from typing import TypeAlias

import pytest

from controlplane.resources.resource import CLUSTER, ENDPOINT, SECRET
from controlplane.resources.secret_sources import Secrets
from controlplane.xds import Acknowledged, Node
from controlplane.xds.state import SharedStates
from tests.xds.client import DeltaClient, SotwClient
from tests.xds.snapshots import resource, snapshot

ClientType: TypeAlias = type[DeltaClient] | type[SotwClient]
CLIENTS: list[ClientType] = [DeltaClient, SotwClient]
BEFORE, AFTER = snapshot(endpoints={"a": "1"}), snapshot(endpoints={"a": "2"})


def secrets(**contents: str) -> Secrets:
    """Secrets by name, whose contents are short texts."""
    return Secrets(*(resource(SECRET, name, content) for name, content in contents.items()))


def holding(
    protocol: ClientType, held: Secrets, shared_states: SharedStates | None = None
) -> DeltaClient | SotwClient:
    """A client that holds its secrets and the endpoints of one cluster."""
    client = protocol(BEFORE, Node("a"), shared_states=shared_states)
    client.stream.secrets = held
    client.want(ENDPOINT, "a")
    client.want(SECRET, "identity", "roots")
    client.accept_all()
    return client


def test_secrets_that_do_not_exist_are_said_to_be_removed_at_once() -> None:
    client = DeltaClient(BEFORE)
    client.want(SECRET, "identity", "roots")
    got = client.got()
    assert (got.resources, got.removed) == ({}, ["identity", "roots"])


def test_secrets_that_do_not_exist_are_answered_at_once_in_state_of_the_world() -> None:
    client = SotwClient(BEFORE)
    client.want(SECRET, "identity")
    assert client.got().resources == {}
    assert client.next() is None


@pytest.mark.parametrize("protocol", CLIENTS)
def test_a_snapshot_for_many_holds_no_secret(protocol: ClientType) -> None:
    client = protocol(snapshot(secrets={"identity": "of somebody"}))
    client.want(SECRET, "identity")
    assert client.got().resources == {}


@pytest.mark.parametrize("protocol", CLIENTS)
def test_each_stream_gets_its_own_by_the_same_names_while_they_share_all_else(
    protocol: ClientType,
) -> None:
    shared_states = SharedStates()
    clients = [
        holding(protocol, secrets(identity=f"of {node}", roots="r"), shared_states)
        for node in ("a", "b")
    ]
    assert [client.held[SECRET]["identity"] for client in clients] == ["of a", "of b"]
    first, second = (client.stream._state for client in clients)
    assert first is second
    for client in clients:
        client.show(AFTER)
        assert client.accept().resources == {"a": "2"}
    for node, client in zip("ab", clients, strict=True):
        client.stream.secrets = secrets(identity=f"of {node}, renewed", roots="r")
        assert client.accept().resources == {"identity": f"of {node}, renewed"}
    assert clients[0].stream._state is clients[1].stream._state


@pytest.mark.parametrize("protocol", CLIENTS)
def test_certificate_and_roots_that_change_together_come_in_one_response(
    protocol: ClientType,
) -> None:
    client = holding(protocol, secrets(identity="1", roots="1"))
    client.stream.secrets = secrets(identity="2", roots="2")
    assert client.stream.has_work
    assert client.accept().resources == {"identity": "2", "roots": "2"}
    assert not client.stream.has_work


@pytest.mark.parametrize("protocol", CLIENTS)
def test_equal_secrets_are_not_sent_again(protocol: ClientType) -> None:
    client = holding(protocol, secrets(identity="1", roots="1"))
    client.stream.secrets = secrets(identity="1", roots="1")
    assert client.next() is None
    assert not client.stream.has_work


def test_a_client_that_comes_back_with_what_it_holds_is_sent_nothing() -> None:
    held = secrets(identity="1", roots="1")
    client = holding(DeltaClient, held).reconnected(BEFORE)
    client.stream.secrets = held
    client.want(SECRET, "identity", "roots")
    got = client.accept_all()
    assert [item.resources for item in got] == [{"identity": "1", "roots": "1"}], (
        "names are answered"
    )
    assert client.next() is None


@pytest.mark.parametrize("protocol", CLIENTS)
@pytest.mark.parametrize("order", ["secret first", "endpoints first"])
def test_answers_are_told_apart_when_a_secret_comes_between_a_shared_answer_and_its_own(
    protocol: ClientType, order: str
) -> None:
    client = holding(protocol, secrets(identity="1"), SharedStates())
    client.show(AFTER)
    endpoints = client.got()
    client.stream.secrets = secrets(identity="2")
    secret = client.got()
    assert (endpoints.type_url, secret.type_url) == (ENDPOINT, SECRET)
    answered = [endpoints, secret] if order == "endpoints first" else [secret, endpoints]
    client.events.clear()
    for got in answered:
        client.ack(got)
    urls = [item.type_url for item in answered]
    assert client.events == [Acknowledged(url, _version(client, url)) for url in urls]
    assert client.stream.is_quiet
    assert client.next() is None
    client.show(snapshot(endpoints={"a": "3"}))
    assert client.accept().resources == {"a": "3"}


def _version(client: DeltaClient | SotwClient, url: str) -> str:
    status = client.stream.status()
    assert status is not None
    return next(item.sent for item in status.types if item.type_url == url)


@pytest.mark.parametrize("protocol", CLIENTS)
def test_a_secret_that_is_rejected_is_sent_again_only_once_it_is_another(
    protocol: ClientType,
) -> None:
    client = holding(protocol, secrets(identity="1", roots="1"))
    client.stream.secrets = secrets(identity="bad", roots="1")
    client.nack(client.got())
    assert client.next() is None
    assert client.stream.status().types[1].refused == ("identity",)  # type: ignore[union-attr]
    client.stream.secrets = secrets(identity="3", roots="1")
    assert client.accept().resources == {"identity": "3"}


def test_status_shows_secrets_among_the_other_types_and_of_whom_they_are() -> None:
    client = holding(DeltaClient, secrets(identity="1", roots="1"))
    client.want(CLUSTER)
    status = client.stream.status()
    assert status is not None
    assert [item.type_url for item in status.types] == [CLUSTER, ENDPOINT, SECRET]
    shown = {each.name: each for each in client.stream.resources(BEFORE)}
    assert shown["identity"].version_info == resource(SECRET, "identity", "1").version
    assert not shown["identity"].xds_config


def test_nothing_is_asked_of_a_stream_that_wants_no_secret() -> None:
    client = DeltaClient(BEFORE, shared_states=SharedStates())
    client.want(ENDPOINT, "a")
    client.accept_all()
    client.stream.secrets = secrets(identity="1")
    assert not client.stream.has_work
    assert client.next() is None


@pytest.mark.parametrize("protocol", CLIENTS)
def test_a_shared_answer_is_known_by_its_nonce_although_a_secret_was_sent_since(
    protocol: ClientType,
) -> None:
    client = holding(protocol, secrets(identity="1"), SharedStates())
    client.show(AFTER)
    endpoints = client.got()
    client.stream.secrets = secrets(identity="2")
    client.accept()
    client.want(CLUSTER)
    client.ack(endpoints)
    assert Acknowledged(ENDPOINT, _version(client, ENDPOINT)) in client.events[-1:]
