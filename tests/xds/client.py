"""Scripted clients of both protocols: they speak to a `Stream` and tell what they were sent."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import envoy_data_plane.envoy.service.discovery.v3 as discovery_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.resources.resource import CLUSTER, Snapshot
from controlplane.xds import Event, Node
from controlplane.xds.protocol import WHOLE_TYPES, Delta, ErrorDetail, Request, StateOfTheWorld
from controlplane.xds.state import SharedStates
from controlplane.xds.stream import Stream

ENVOY = Node(id="sidecar-1", cluster="apps", user_agent="envoy", version="1.40.0")


@dataclass(frozen=True)
class Got:
    """A response.

    Attributes:
        type_url: Of the resources.
        resources: Their contents by name, in the order in which they came.
        removed: The names in ``removed_resources``; none in state of the world.
        nonce: To answer by.
        version: Of the whole response.
        versions: By name; none in state of the world.
    """

    type_url: str
    resources: dict[str, str]
    removed: list[str]
    nonce: str
    version: str
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, encoded: bytes) -> "Got":
        """Read a ``DeltaDiscoveryResponse``."""
        message = discovery_v3.DeltaDiscoveryResponse.parse(encoded)
        names = [resource.name for resource in message.resources]
        assert len(names) == len(set(names)), "a name twice in one response"
        contents = {
            # Of real resources it is Envoy's message, which is no text.
            r.name: r.resource.value.decode(errors="replace").removeprefix(f"{r.name}\0")
            for r in message.resources
            if r.resource
        }
        assert not contents.keys() & message.removed_resources, "both there and removed"
        assert len(message.removed_resources) == len({*message.removed_resources})
        return cls(
            message.type_url,
            contents,
            message.removed_resources,
            message.nonce,
            message.system_version_info,
            {resource.name: resource.version for resource in message.resources},
        )

    @classmethod
    def of_sotw(cls, encoded: bytes) -> "Got":
        """Read a ``DiscoveryResponse``."""
        message = discovery_v3.DiscoveryResponse.parse(encoded)
        contents = _contents(message.resources)
        return cls(message.type_url, contents, [], message.nonce, message.version_info)


def _contents(packed: Sequence[protobuf.Any]) -> dict[str, str]:
    pairs = [item.value.decode().partition("\0")[::2] for item in packed]
    contents = dict(pairs)
    assert len(contents) == len(pairs), "a name twice in one response"
    return contents


class Client(ABC):
    """One stream, with the first request's node filled in. What it accepts, it holds.

    Attributes:
        protocol: What it speaks.
        stream: The server's side.
        node: Who it says that it is.
        events: What the server noticed.
        now: Seconds.
        held: Contents by type and name.
    """

    protocol: ClassVar[Delta | StateOfTheWorld]

    def __init__(
        self,
        shown: Snapshot | None = None,
        node: Node = ENVOY,
        *,
        only: str | None = None,
        shared_states: SharedStates | None = None,
    ) -> None:
        self.stream: Stream = Stream(self.protocol, only, shared_states)
        self.node = node
        self.events: list[Event] = []
        self.now = 0.0
        self.held: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._shown = shown
        self.begin()

    def show(self, shown: Snapshot) -> None:
        """Change what the client should hold."""
        self._shown = shown

    @abstractmethod
    def begin(self) -> None:
        """Remember what the protocol has a client remember: nothing yet."""

    @abstractmethod
    def want(self, type_url: str, *names: str) -> None:
        """Ask for these as well; for everything if the first request for a type has none."""

    @abstractmethod
    def drop(self, type_url: str, *names: str) -> None:
        """Want these no more."""

    @abstractmethod
    def answer(self, got: Got, error: str | None) -> None:
        """Acknowledge a response, or reject it."""

    @abstractmethod
    def reconnected(self, shown: Snapshot) -> "Client":
        """A client on another stream that holds what this one holds, before its first request."""

    @abstractmethod
    def read(self, encoded: bytes) -> Got:
        """Decode a response."""

    def nack(self, got: Got, error: str = "bad") -> None:
        """Reject a response."""
        self.answer(got, error)

    def ack(self, got: Got) -> None:
        """Acknowledge a response: hold what it says."""
        held = self.held[got.type_url]
        if isinstance(self, SotwClient) and got.type_url in WHOLE_TYPES:
            held.clear()
        held.update(got.resources)
        for name in got.removed:
            held.pop(name, None)
        self.answer(got, None)

    def next(self) -> Got | None:
        """The next response, if there is one to send now."""
        if self._shown is None:
            return None
        response = self.stream.next_response(self._shown, self.now)
        return self.read(response.encoded) if response else None

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


class DeltaClient(Client):
    """A client of the incremental protocol."""

    protocol = Delta()

    def begin(self) -> None:
        self._versions: defaultdict[str, dict[str, str]] = defaultdict(dict)

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
        request = Request(
            type_url,
            None if self.stream.node else self.node,
            nonce,
            None if error is None else ErrorDetail(13, error[:4_000], error),
            tuple(subscribe),
            tuple(unsubscribe),
            held or {},
        )
        if request == Request(type_url, nonce=nonce):
            # As it comes over the wire.
            message = discovery_v3.DeltaDiscoveryRequest(type_url=type_url, response_nonce=nonce)
            self.events += self.stream.apply(self.stream.decode(bytes(message)), self.now)
        else:
            self.events += self.stream.apply(request, self.now)

    def want(self, type_url: str, *names: str) -> None:
        self.request(type_url, subscribe=names, held=self._versions[type_url])

    def drop(self, type_url: str, *names: str) -> None:
        self.request(type_url, unsubscribe=names)

    def answer(self, got: Got, error: str | None) -> None:
        if error is None:
            self._versions[got.type_url].update(got.versions)
            for name in got.removed:
                self._versions[got.type_url].pop(name, None)
        self.request(got.type_url, nonce=got.nonce, error=error)

    def reconnected(self, shown: Snapshot) -> "DeltaClient":
        client = DeltaClient(shown, self.node)
        client.held, client._versions = self.held, self._versions
        return client

    def read(self, encoded: bytes) -> Got:
        return Got.of(encoded)


class SotwClient(Client):
    """A client of the state of the world: it repeats what it wants in every request.

    Attributes:
        names: Those that it wants, by type.
        version: That it accepted last, by type.
        nonce: Of what it answered last, by type.
    """

    protocol = StateOfTheWorld()

    def begin(self) -> None:
        self.names: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
        self.version: defaultdict[str, str] = defaultdict(str)
        self.nonce: defaultdict[str, str] = defaultdict(str)

    def request(
        self,
        type_url: str = CLUSTER,
        names: Sequence[str] | None = None,
        *,
        version: str | None = None,
        nonce: str | None = None,
        error: str | None = None,
    ) -> None:
        """Send a request; what is not given is as it was in the request before."""
        self.names[type_url] = self.names[type_url] if names is None else tuple(names)
        request = Request(
            type_url,
            None if self.stream.node else self.node,
            self.nonce[type_url] if nonce is None else nonce,
            None if error is None else ErrorDetail(13, error[:4_000], error),
            self.names[type_url],
            version=self.version[type_url] if version is None else version,
        )
        self.events += self.stream.apply(request, self.now)

    def want(self, type_url: str, *names: str) -> None:
        self.request(type_url, list(dict.fromkeys((*self.names[type_url], *names))))

    def drop(self, type_url: str, *names: str) -> None:
        self.request(type_url, [item for item in self.names[type_url] if item not in names])

    def answer(self, got: Got, error: str | None) -> None:
        if error is None:
            self.version[got.type_url] = got.version
        self.nonce[got.type_url] = got.nonce
        self.request(got.type_url, error=error)

    def reconnected(self, shown: Snapshot) -> "SotwClient":
        client = SotwClient(shown, self.node)
        client.held, client.version = self.held, self.version
        return client

    def read(self, encoded: bytes) -> Got:
        return Got.of_sotw(encoded)
