"""What Envoys do is among the events, once, and with resume as everything else."""

from collections.abc import Sequence

from controlplane.api.events import MAX_NAMES, Feed, NodeEvents
from controlplane.resources.resource import CLUSTER, ENDPOINT
from controlplane.xds import (
    Acknowledged,
    Connected,
    Disconnected,
    Event,
    Locality,
    Node,
    Rejected,
    Sent,
    Unserved,
)
from tests.api.served import served
from tests.api.test_events import following

REJECTED = Rejected(CLUSTER, ("m",), "no such policy")


def changes(events: Sequence[Event]) -> list[str]:
    """What is told of one node."""
    feed = Feed()
    told = NodeEvents(feed)
    for event in events:
        told.observe("sidecar", event, 0.0)
    return [it.data.partition('"change": "')[2].partition('"')[0] for it in feed.after(0) or ()]


async def test_a_node_that_connects_refuses_something_and_leaves_is_told_of_and_resumed() -> None:
    async with served() as api:
        async with following(api) as follower:
            await follower.next()
            node = Node(id="sidecar", locality=Locality("eu", "a"))
            api.server.observe("sidecar", Connected(node))
            where = {"region": "eu", "zone": "a", "sub_zone": ""}
            assert await follower.next() == (
                "node",
                {"id": "sidecar", "change": "connected", "locality": where},
            )
        api.server.observe("sidecar", REJECTED)
        api.server.observe("sidecar", Disconnected("it was stopped"))
        async with following(api, follower.last) as follower:
            assert await follower.next() == (
                "node",
                {
                    "id": "sidecar",
                    "change": "rejected",
                    "type_url": CLUSTER,
                    "names": ["m"],
                    "message": "no such policy",
                },
            )
            assert await follower.next() == (
                "node",
                {"id": "sidecar", "change": "left", "reason": "it was stopped"},
            )


def test_what_is_sent_and_taken_is_no_event() -> None:
    sent = Sent(CLUSTER, "1", 1, 0, 100)
    assert changes([sent, Acknowledged(CLUSTER, "1"), Unserved("type.googleapis.com/x")]) == []


def test_what_is_refused_again_and_again_in_the_same_words_is_told_once() -> None:
    other = Rejected(ENDPOINT, ("m",), "no such policy")
    assert changes([REJECTED, other, REJECTED, other, REJECTED]) == ["rejected"] * 2
    assert changes([REJECTED, Rejected(CLUSTER, ("m",), "another"), REJECTED]) == ["rejected"] * 3


def test_what_is_refused_after_something_was_taken_is_told_again() -> None:
    assert changes([REJECTED, Acknowledged(CLUSTER, "2"), REJECTED]) == ["rejected"] * 2
    assert changes([REJECTED, Acknowledged(ENDPOINT, "2"), REJECTED]) == ["rejected"]
    assert changes([REJECTED, Disconnected(""), REJECTED]) == ["rejected", "left", "rejected"]


def test_of_many_refused_names_some_are_told() -> None:
    feed = Feed()
    names = tuple(f"pool-{number:04}" for number in range(1000))
    NodeEvents(feed).observe("sidecar", Rejected(CLUSTER, names, "no"), 0.0)
    (event,) = feed.after(0) or ()
    assert event.data.count("pool-") == MAX_NAMES
