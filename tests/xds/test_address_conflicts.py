"""Listeners that take each other's addresses, with clients that take what Envoy would."""

from itertools import chain

from hypothesis import example, given
from hypothesis import strategies as st

from controlplane.resources.resource import LISTENER
from tests.xds.client import Client, DeltaClient, Got, SotwClient
from tests.xds.snapshots import snapshot

Protocol = type[DeltaClient] | type[SotwClient]

NAMES = ("a", "b", "c", "d")
FREE = "127.0.0.1:9"


def answer(client: Client, got: Got) -> bool:
    """Do what Envoy does: removals first, then one by one, unless another has the address."""
    held = client.held[LISTENER]
    keeps = got.resources if isinstance(client, SotwClient) else held.keys() - got.removed
    for name in held.keys() - keeps:
        del held[name]
    errors = []
    for name, address in got.resources.items():
        if any(other != name and at == address for other, at in held.items()):
            errors.append(
                f"{name}: error adding listener: '{name}' has duplicate address '{address}' as"
                " existing listener, to check if the listener has duplicated addresses with other"
                " listeners or 'enable_reuse_port' is set to 'false' for the listener"
            )
        else:
            held[name] = address
    words = "Error adding/updating listener(s) " + " ".join(errors) + " "
    client.answer(got, words if errors else None)
    return not errors


def follow(client: Client, most: int = 100) -> int:
    """Answer until nothing comes; returns how many responses were rejected."""
    rejected = 0
    for _ in range(most):
        if (got := client.next()) is None:
            return rejected
        rejected += not answer(client, got)
    raise AssertionError("it never ends")


def client_at(protocol: Protocol, listeners: dict[str, str]) -> Client:
    client = protocol(snapshot(listeners=listeners))
    client.want(LISTENER)
    follow(client)
    assert client.held[LISTENER] == listeners
    return client


def in_sync(client: Client) -> bool:
    status = client.stream.status()
    return status is not None and all(item.in_sync for item in status.types)


places = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 5)).filter(
    lambda each: len({*each.values()}) == len(each)
)


@given(
    st.sampled_from([DeltaClient, SotwClient]),
    st.lists(st.tuples(places, st.booleans()), min_size=1, max_size=6),
)
@example(DeltaClient, [({"a": 1, "b": 2}, False), ({"a": 2, "b": 1}, False)])
@example(SotwClient, [({"a": 1, "b": 2}, False), ({"a": 2, "b": 1}, True)])
def test_wherever_listeners_move_the_client_has_them_there_in_the_end(
    protocol: Protocol, steps: list[tuple[dict[str, int], bool]]
) -> None:
    client: Client = client_at(protocol, {})
    for wanted, reconnects in steps:
        listeners = {name: f"127.0.0.1:{port}" for name, port in wanted.items()}
        if reconnects:
            client = client.reconnected(snapshot(listeners=listeners))
            client.want(LISTENER)
        else:
            client.show(snapshot(listeners=listeners))
        assert follow(client) <= 2
        assert client.held[LISTENER] == listeners
        assert in_sync(client)


def test_one_that_is_to_have_the_address_of_another_keeps_its_own_until_that_one_goes(
    protocol: Protocol,
) -> None:
    client = client_at(protocol, {"a": "127.0.0.1:1", "b": "127.0.0.1:2"})
    client.show(snapshot(listeners={"a": "127.0.0.1:1", "b": "127.0.0.1:1"}))
    assert follow(client) == 1
    assert client.held[LISTENER] == {"a": "127.0.0.1:1", "b": "127.0.0.1:2"}
    assert not in_sync(client)
    client.show(snapshot(listeners={"b": "127.0.0.1:1"}))
    follow(client)
    assert client.held[LISTENER] == {"b": "127.0.0.1:1"}
    assert in_sync(client)


def test_an_address_that_something_else_has_is_tried_twice_and_when_another_listener_moves(
    protocol: Protocol,
) -> None:
    client = client_at(protocol, {"a": "127.0.0.1:1", "b": "127.0.0.1:2"})
    # A listener of Envoy's own bootstrap, of which the control plane knows nothing.
    client.held[LISTENER]["own"] = FREE
    sent = list[Got]()

    def refuse_b() -> None:
        while (got := client.next()) is not None:
            sent.append(got)
            is_bad = got.resources.get("b") == FREE
            words = "Error adding/updating listener(s) b: error adding listener: 'b' has duplicate"
            client.answer(got, f"{words} address '{FREE}' as existing listener " * is_bad or None)
            assert len(sent) < 20, "it never ends"

    def tries() -> int:
        return [*chain.from_iterable(got.resources.items() for got in sent)].count(("b", FREE))

    client.show(snapshot(listeners={"a": "127.0.0.1:1", "b": FREE}))
    refuse_b()
    assert tries() == 2
    client.show(snapshot(listeners={"a": "127.0.0.1:3", "b": FREE}))
    refuse_b()
    assert tries() == 3
    assert not in_sync(client)
