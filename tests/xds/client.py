"""A scripted client: speaks to a `Stream` as Envoy would, and tells what it was sent."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import envoy_data_plane.envoy.service.discovery.v3 as discovery_v3

from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Resource
from controlplane.resources.snapshot import Changes, Revision, Snapshot
from controlplane.xds.delta import Delta
from controlplane.xds.events import Event
from controlplane.xds.identity import Node
from controlplane.xds.requests import DeltaRequest, ErrorDetail
from controlplane.xds.stream import Stream

ENVOY = Node(id="sidecar-1", cluster="apps", user_agent="envoy", version="1.40.0")


class Fixed(Snapshot):
    """A snapshot of given resources, by type URL and name."""

    def __init__(self, resources: Mapping[str, Mapping[str, Resource]]) -> None:
        self._resources = resources
        self._revision = Revision()

    @property
    def revision(self) -> Revision:
        return self._revision

    def get(self, type_url: str, name: str) -> Resource | None:
        return self._resources.get(type_url, {}).get(name)

    def names(self, type_url: str) -> Collection[str]:
        return self._resources.get(type_url, {}).keys()

    def changed_since(self, revision: Revision | None) -> Changes | None:
        return None


def snapshot(**by_type: Mapping[str, str]) -> Fixed:
    """A snapshot of resources by type and name, whose versions depend on the given text.

    As in the real one, the version of an assignment depends on the cluster of its name too.
    """
    urls = {
        "clusters": CLUSTER,
        "endpoints": ENDPOINT,
        "secrets": SECRET,
        "listeners": LISTENER,
        "routes": ROUTE,
    }
    return Fixed(
        {
            urls[kind]: {
                name: Resource.of(
                    urls[kind],
                    name,
                    content.encode(),
                    salt=by_type.get("clusters", {}).get(name, "").encode()
                    if kind == "endpoints"
                    else b"",
                )
                for name, content in resources.items()
            }
            for kind, resources in by_type.items()
        }
    )


@dataclass(frozen=True)
class Got:
    """A response: the content by name of the resources in it, the removed names, the nonce."""

    type_url: str
    resources: dict[str, str]
    removed: list[str]
    nonce: str
    versions: dict[str, str]

    @classmethod
    def of(cls, encoded: bytes) -> "Got":
        message = discovery_v3.DeltaDiscoveryResponse.parse(encoded)
        names = [resource.name for resource in message.resources] + message.removed_resources
        assert len(names) == len(set(names)), "a name twice in one response"
        contents = {r.name: r.resource.value.decode() for r in message.resources if r.resource}
        versions = {resource.name: resource.version for resource in message.resources}
        return cls(message.type_url, contents, message.removed_resources, message.nonce, versions)


class Client:
    """One delta stream, with the first request's node filled in."""

    def __init__(
        self, shown: Snapshot | None = None, node: Node = ENVOY, *, only: str | None = None
    ) -> None:
        self.stream = Stream(Delta(), only)
        self.node = node
        self.events: list[Event] = []
        self.now = 0.0
        self._shown = shown

    def show(self, shown: Snapshot) -> None:
        """Change what the client should hold."""
        self._shown = shown

    def request(
        self,
        type_url: str = CLUSTER,
        *,
        subscribe: Sequence[str] = (),
        unsubscribe: Sequence[str] = (),
        held: Mapping[str, str] | None = None,
        nonce: str = "",
        error: str | None = None,
    ) -> None:
        """Send a request."""
        request = DeltaRequest(
            type_url,
            None if self.stream.node else self.node,
            nonce,
            None if error is None else ErrorDetail(13, error),
            tuple(subscribe),
            tuple(unsubscribe),
            held or {},
        )
        self.events += self.stream.apply(request, self.now)

    def ack(self, got: Got, **more: Sequence[str]) -> None:
        """Acknowledge a response."""
        self.request(got.type_url, nonce=got.nonce, **more)  # type: ignore[arg-type]

    def nack(self, got: Got, error: str = "bad", **more: Sequence[str]) -> None:
        """Reject a response."""
        self.request(got.type_url, nonce=got.nonce, error=error, **more)  # type: ignore[arg-type]

    def next(self) -> Got | None:
        """The next response, if there is one to send now."""
        if self._shown is None:
            return None
        response = self.stream.next_response(self._shown, self.now)
        return Got.of(response.encoded) if response else None

    def got(self) -> Got:
        """The next response; there must be one."""
        response = self.next()
        assert response is not None, "nothing was sent"
        return response

    def accept(self) -> Got:
        """Take the next response and acknowledge it."""
        got = self.got()
        self.ack(got)
        return got

    def accept_all(self) -> list[Got]:
        """Take and acknowledge until nothing comes."""
        taken = []
        while (got := self.next()) is not None:
            self.ack(got)
            taken.append(got)
            assert len(taken) < 100, "it never ends"
        return taken
