"""What a client has from before is not taken away where the snapshot says that it keeps that."""

from collections.abc import Collection, Mapping

import pytest

from controlplane.resources.resource import CLUSTER, ENDPOINT, Resource
from controlplane.xds.state import SharedStates
from tests.xds.client import DeltaClient, SotwClient
from tests.xds.snapshots import Fixed, resource, snapshot


class Guarded(Fixed):
    """A snapshot of assignments and clusters of the same names, some of which clients keep."""

    def __init__(self, contents: Mapping[str, str], released: Collection[str]) -> None:
        def of(url: str) -> dict[str, Resource]:
            return {name: resource(url, name, content) for name, content in contents.items()}

        super().__init__({url: of(url) for url in (CLUSTER, ENDPOINT)})
        self._released = released
        self.keeps_any = True

    def keeps(self, type_url: str, name: str, version: str | None) -> bool:
        return name not in self._released


def held(name: str, content: str = "old", url: str = ENDPOINT) -> dict[str, str]:
    return {name: resource(url, name, content).version}


def test_an_assignment_from_before_stays_until_its_pool_is_released() -> None:
    client = DeltaClient(Guarded({"a": "new", "b": "new"}, ["b"]))
    client.request(ENDPOINT, subscribe=["a", "b"], held=held("a") | held("b"))
    assert client.accept().resources == {"b": "new"}
    assert client.next() is None
    client.show(Guarded({"a": "newer", "b": "new"}, ["b"]))
    assert client.next() is None
    client.show(Guarded({"a": "newer", "b": "new"}, ["a", "b"]))
    assert client.accept().resources == {"a": "newer"}


def test_who_has_nothing_from_before_is_told_all_and_told_of_every_change() -> None:
    client = DeltaClient(Guarded({"a": "new"}, []))
    client.request(ENDPOINT, subscribe=["a"])
    assert client.accept().resources == {"a": "new"}
    client.show(Guarded({"a": "newer"}, []))
    assert client.accept().resources == {"a": "newer"}


def test_what_is_not_there_any_more_stays_too() -> None:
    client = DeltaClient(Guarded({"a": "new"}, ["a"]))
    client.request(CLUSTER, held=held("a", url=CLUSTER) | held("gone", url=CLUSTER))
    assert (client.accept().resources, client.next()) == ({"a": "new"}, None)
    client.show(Guarded({"a": "new"}, ["a", "gone"]))
    assert client.accept().removed == ["gone"]


def test_what_is_the_same_as_before_is_nothing_to_keep() -> None:
    client = DeltaClient(Guarded({"a": "old"}, []))
    client.request(ENDPOINT, subscribe=["a"], held=held("a"))
    client.accept()
    client.show(Guarded({"a": "new"}, []))
    assert client.accept().resources == {"a": "new"}


def test_a_name_that_was_dropped_meanwhile_is_answered() -> None:
    client = DeltaClient(Guarded({"a": "new"}, []))
    client.request(ENDPOINT, subscribe=["a"], held=held("a"))
    assert client.next() is None
    client.request(ENDPOINT, unsubscribe=["a"])
    client.request(ENDPOINT, subscribe=["a"])
    assert client.accept().resources == {"a": "new"}


def test_once_nothing_is_kept_any_more_all_is_told() -> None:
    client = DeltaClient(Guarded({"a": "new"}, []))
    client.request(ENDPOINT, subscribe=["a"], held=held("a"))
    assert client.next() is None
    client.show(snapshot(endpoints={"a": "new"}))
    assert client.accept().resources == {"a": "new"}


def test_clients_that_keep_something_stand_with_no_others() -> None:
    shared_states, now = SharedStates(), Guarded({"a": "old"}, [])
    keeping, other = (DeltaClient(now, shared_states=shared_states) for _ in range(2))
    other.request(ENDPOINT, subscribe=["a"])
    other.accept()
    before = Guarded({"a": "other"}, [])
    keeping.show(before)
    keeping.request(ENDPOINT, subscribe=["a"], held=held("a"))
    assert keeping.next() is None
    newest = Guarded({"a": "new"}, [])
    for client in (keeping, other):
        client.show(newest)
    assert keeping.next() is None
    assert other.accept().resources == {"a": "new"}


@pytest.mark.parametrize("version", ["of another registry", ""])
def test_a_response_that_says_everything_waits_until_everything_is_released(version: str) -> None:
    client = SotwClient(Guarded({"a": "new"}, ["a"]))
    client.request(CLUSTER, version=version)
    if version:
        assert client.next() is None
        client.show(Guarded({"a": "new"}, ["a", "*"]))
    assert client.accept().resources == {"a": "new"}


def test_in_state_of_the_world_who_says_no_version_has_nothing() -> None:
    client = SotwClient(Guarded({"a": "new", "b": "new"}, ["b"]))
    client.request(ENDPOINT, ["a", "b"], version="of another registry")
    assert client.accept().resources == {"b": "new"}
    other = SotwClient(Guarded({"a": "new", "b": "new"}, ["b"]))
    other.request(ENDPOINT, ["a", "b"])
    assert other.accept().resources == {"a": "new", "b": "new"}
