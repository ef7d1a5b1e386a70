"""What Envoys do is among the events, once, and with resume as everything else."""

from collections.abc import Sequence

from controlplane.api.events import MAX_NAMES, MAX_REFUSED, Feed, NodeEvents
from controlplane.resources.resource import CLUSTER, ENDPOINT
from controlplane.xds import (
    Acknowledged,
    Connected,
    Disconnected,
    Event,
    Locality,
    Node,
    Refused,
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
    return [item.data.partition('"change": "')[2].partition('"')[0] for item in feed.after(0) or ()]


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


def test_who_is_refused_again_and_again_is_told_of_once_until_it_connects() -> None:
    refused = Refused("10.0.0.1:4000", "its certificate has expired")
    again = Refused("10.0.0.1:4001", "its certificate has expired")
    other = Refused("10.0.0.1:4002", "it calls itself 'b'")
    assert changes([refused, again]) == ["refused"]
    assert changes([refused, other, refused]) == ["refused"] * 3
    assert changes([refused, Connected(Node(id="sidecar")), refused]) == [
        "refused",
        "connected",
        "refused",
    ]


async def test_the_last_refusal_of_each_is_listed_for_ten_minutes_or_until_it_connects() -> None:
    async with served() as api:
        api.server.observe("10.0.0.9", Refused("10.0.0.9:1", "no URI"))
        api.server.observe("a", Refused("10.0.0.1:1", "expired"))
        api.server.observe("b", Refused("10.0.0.2:1", "expired"))
        api.now += 5
        api.server.observe("a", Refused("10.0.0.1:2", "revoked"))
        api.server.observe("b", Connected(Node(id="b")))
        listed = (await api.ask("GET", "/v1/nodes")).body["refused"]
        assert listed == [
            {"id": "10.0.0.9", "peer": "10.0.0.9:1", "reason": "no URI", "age_s": 5.0},
            {"id": "a", "peer": "10.0.0.1:2", "reason": "revoked", "age_s": 0.0},
        ]
        api.now += 596
        listed = (await api.ask("GET", "/v1/nodes")).body["refused"]
        assert [item["id"] for item in listed] == ["a"]
        for number in range(2 * MAX_REFUSED):
            api.server.observe(f"n{number}", Refused("10.0.0.1:1", "expired"))
        assert len((await api.ask("GET", "/v1/nodes")).body["refused"]) == MAX_REFUSED
