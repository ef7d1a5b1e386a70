"""What Envoys do, for those who follow the events: they connect, refuse something and leave."""

from typing import Final

from controlplane.edges.rest.feed import Feed
from controlplane.xds import Acknowledged, Connected, Disconnected, Event, Rejected

MAX_NAMES: Final = 20
"""Of refused resources in one event; with a wrong rule of ours it is all of them."""


class NodeEvents:
    """Publishes what happens on the streams of nodes."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._refused: dict[str, dict[str, Rejected]] = {}

    def observe(self, node: str, event: Event) -> None:
        """Take in what has happened on a stream of a node.

        An Envoy that refuses something refuses it again with every new version, several times a
        second: the same words are said once, until it has taken something of the type.
        """
        match event:
            case Connected(introduced):
                where = introduced.locality
                locality = {"region": where.region, "zone": where.zone, "sub_zone": where.sub_zone}
                self._publish(node, "connected", locality=locality)
            case Disconnected(reason):
                self._refused.pop(node, None)
                self._publish(node, "left", reason=reason)
            case Acknowledged(type_url):
                self._refused.get(node, {}).pop(type_url, None)
            case Rejected(type_url, names, message):
                refused = self._refused.setdefault(node, {})
                if refused.get(type_url) != event:
                    refused[type_url] = event
                    shown = {"names": list(names[:MAX_NAMES]), "message": message}
                    self._publish(node, "rejected", type_url=type_url, **shown)

    def _publish(self, node: str, change: str, **more: object) -> None:
        self._feed.publish("node", {"id": node, "change": change, **more})
