"""A client that does with what it is sent what Envoy does, and notices what must never happen."""

from collections import defaultdict, deque
from collections.abc import Sequence

from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Snapshot
from controlplane.xds import Node
from controlplane.xds.holdings import version_of
from controlplane.xds.protocol import WHOLE_TYPES
from controlplane.xds.state import SharedStates
from tests.xds.client import ENVOY, Client, DeltaClient, Got, SotwClient
from tests.xds.snapshots import resource
from tests.xds.wanted import WILDCARD, Type
from tests.xds.world import BAD, NAMES, World, target


class Reference:
    """Three equal streams with a client, which must be sent the same bytes.

    Two share all that follows from their state, as the streams of a server do, and their snapshots
    tell what changed; the third is alone, and its snapshots do not.

    Attributes:
        types: What it has asked for, by type URL.
        inbox: Responses that it has not looked at, with the snapshots that they were made from.
    """

    def __init__(
        self, protocol: type[DeltaClient] | type[SotwClient], world: World, node: Node = ENVOY
    ) -> None:
        self.protocol = protocol
        self.node = node
        self.world = world
        self.types: dict[str, Type] = {}
        self.inbox: deque[tuple[Got, Snapshot, set[str]]] = deque()
        self.nonces: defaultdict[str, list[str]] = defaultdict(list)
        self.clock = 0
        self.removed_clusters: set[str] = set()
        self.saw_clusters = False
        self.shared_states = SharedStates()
        self.told, self.twin, self.compares = self._connect()

    def _connect(self) -> tuple[Client, Client, Client]:
        shared = [self.protocol(node=self.node, shared_states=self.shared_states) for _ in range(2)]
        return shared[0], shared[1], self.protocol(node=self.node)

    # What it says.

    def send(
        self,
        url: str,
        add: Sequence[str] = (),
        drop: Sequence[str] = (),
        *,
        nonce: str = "",
        error: str | None = None,
        first: bool = False,
    ) -> None:
        for client in (self.told, self.twin, self.compares):
            kind = self.types[url]
            if isinstance(client, DeltaClient):
                held = {name: version for name, (_, version) in kind.held.items()}
                client.request(
                    url,
                    subscribe=add,
                    unsubscribe=drop,
                    nonce=nonce,
                    error=error,
                    held=held if first else None,
                )
            elif isinstance(client, SotwClient):
                # What Envoy took of a response that it refused, its version does not say. So it
                # says nothing here: a server that goes back to just that version cannot know.
                version = "" if first and kind.partial else kind.accepted
                client.request(url, sorted(kind.names), nonce=nonce, error=error, version=version)

    def subscribe(self, url: str, names: Sequence[str]) -> None:
        """Ask for names as well; for everything if there are none, for clusters and listeners."""
        kind = self.types.get(url)
        if kind is None:
            kind = self.types[url] = Type(legacy=not names and url in WHOLE_TYPES)
            kind.names |= set(names)
            self.send(url, names, first=True)
            return
        if kind.legacy and names and self.protocol is SotwClient:
            kind.legacy = False
        added = sorted(set(names) - kind.names) if self.protocol is SotwClient else names
        kind.names |= set(names)
        self._forget(url)
        self.send(url, added, nonce=self._last(url))

    def unsubscribe(self, url: str, names: Sequence[str]) -> None:
        kind = self.types[url]
        if self.protocol is SotwClient and kind.legacy:
            return
        kind.names -= set(names)
        if WILDCARD in names:
            kind.legacy = False
        self._forget(url)
        self.send(url, drop=names, nonce=self._last(url))

    def _forget(self, url: str) -> None:
        """Drop what is not wanted any more."""
        kind = self.types[url]
        kind.forget_unwanted()
        if url == CLUSTER:
            self.removed_clusters = {
                cluster for cluster in self.removed_clusters if kind.wants(cluster)
            }

    def _last(self, url: str) -> str:
        """Delta: a change of names is no answer. State of the world: it repeats the last one's."""
        return self.nonces[url][-1] if self.nonces[url] and self.protocol is SotwClient else ""

    def reconnect(self, order: Sequence[str]) -> None:
        """Lose the stream, and ask again for all that is wanted: Envoy does that at once."""
        self.inbox.clear()
        self.nonces.clear()
        self.saw_clusters = False
        self.told, self.twin, self.compares = self._connect()
        for url in order:
            if (kind := self.types.get(url)) is None:
                continue
            kind.known = False
            if not kind.names and not kind.legacy:
                del self.types[url]
                continue
            add = sorted(kind.names)
            if kind.legacy and add:
                add.append(WILDCARD)
                kind.legacy = False
                kind.names.add(WILDCARD)
            self.send(url, add, first=True)

    # What it hears.

    def pull(self) -> bool:
        """Let the server send one response."""
        snapshot = self.world.snapshot(tells=True)
        response, twin = (
            item.stream.next_response(snapshot, 0.0) for item in (self.told, self.twin)
        )
        assert (response and response.encoded) == (twin and twin.encoded), "twins differ"
        other = self.compares.stream.next_response(self.world.snapshot(tells=False), 0.0)
        assert (response and response.encoded) == (other and other.encoded), (
            "alike and told what changed, a client is sent something else than one that is alone"
        )
        if response is None:
            return False
        got = self.told.read(response.encoded)
        self.inbox.append((got, snapshot, self.types[got.type_url].everything))
        return True

    def answer(self, *, names_bad: bool) -> None:
        """Look at the oldest response, apply what can be, and acknowledge or reject it."""
        got, snapshot, asked = self.inbox.popleft()
        url, kind = got.type_url, self.types[got.type_url]
        self.clock += 1
        wanted = {name: item for name, item in got.resources.items() if kind.wants(name)}
        bad = [name for name, content in wanted.items() if content.startswith(BAD)]
        if bad and not names_bad and url in WHOLE_TYPES and self.node == ENVOY:
            # Envoy found a constraint violated before it looked at anything.
            kind.doubted = True
            # Of what an Envoy brings from other streams, a set without the bad ones would take
            # away the last good ones. Until it accepts one, the others wait for these to change.
            alone = kind.known or self.protocol is DeltaClient
            for name in bad if alone else wanted:
                self._refuse(url, kind, name, wanted[name])
            self.nonces[url].append(got.nonce)
            self.send(url, nonce=got.nonce, error="no")
            return
        for name in (*got.resources, *got.removed):
            kind.heard[name] = self.clock
        self._remove(url, kind, got, snapshot)
        for name, content in wanted.items():
            if name not in bad:
                self._apply(url, kind, name, content, snapshot)
            else:
                self._refuse(url, kind, name, content)
                if url not in WHOLE_TYPES:
                    break
        self.nonces[url].append(got.nonce)
        if bad:
            kind.partial = kind.doubted = True
            self.send(url, nonce=got.nonce, error=self._words(url, bad) if names_bad else "no")
            return
        kind.accepted, kind.partial, kind.known = got.version, False, True
        self._check_version(kind, got, snapshot, asked)
        self.send(url, nonce=got.nonce)

    def _words(self, url: str, bad: Sequence[str]) -> str:
        """What Envoy says of resources that it refused, as it is once it is cleaned."""
        kind, between = ("cluster", ", ") if url == CLUSTER else ("listener", " ")
        return f"Error adding/updating {kind}(s) {between.join(f'{item}: bad' for item in bad)}"

    def _check_version(self, kind: Type, got: Got, snapshot: Snapshot, asked: set[str]) -> None:
        url, sent = got.type_url, {*got.resources, *got.removed}
        stale = any(snapshot.get(url, name) is None for name in kind.held.keys() - sent)
        if asked != kind.everything or kind.doubted or (stale and url not in WHOLE_TYPES):
            return
        held = [Resource(name, version, b"", b"") for name, (_, version) in kind.held.items()]
        assert got.version == version_of(held), "a version that is not that of what is held"

    def _remove(self, url: str, kind: Type, got: Got, snapshot: Snapshot) -> None:
        gone = {*got.removed} & kind.held.keys()
        if self.protocol is SotwClient and url in WHOLE_TYPES:
            gone = kind.held.keys() - got.resources.keys()
        for name in gone:
            if url == CLUSTER:
                self._check_unused(name, snapshot)
                self.removed_clusters.add(name)
            del kind.held[name]
            kind.kept.pop(name, None)
        if url == CLUSTER:
            self.saw_clusters = True

    def _check_unused(self, cluster: str, snapshot: Snapshot) -> None:
        if self.protocol is SotwClient and not self.saw_clusters:
            return  # The server of a new stream cannot know what the client holds beside.
        for url in (LISTENER, ROUTE):
            kind = self.types.get(url)
            for name, (content, _) in kind.held.items() if kind else ():
                # Nobody tells a client of state of the world that a route is no more; Envoy's
                # goes with its listener.
                stale = self.protocol is SotwClient and not snapshot.get(url, name)
                assert stale or target(content) != cluster, f"{name} still points to {cluster}"

    def _apply(self, url: str, kind: Type, name: str, content: str, snapshot: Snapshot) -> None:
        if url == ENDPOINT:
            shown = snapshot.get(url, name)
            assert shown is not None
            assert f"{name}\0{content}".encode() in shown.packed, "not what is there"
            version = shown.version
        else:
            version = resource(url, name, content).version
        before = kind.held.get(name)
        if before != (content, version):
            kind.applied[name] = self.clock
        if before is None or before[0] != content:
            kind.kept.pop(name, None)
        kind.held[name] = (content, version)
        if url == CLUSTER:
            self.removed_clusters.discard(name)
        elif url in (LISTENER, ROUTE):
            gone = target(content) in self.removed_clusters
            assert not gone, f"{name} points to what was removed"

    def _refuse(self, url: str, kind: Type, name: str, content: str) -> None:
        if url == CLUSTER:
            self.removed_clusters.discard(name)
        kind.keep(name, content)

    # What must hold when nothing is to be said any more.

    def settle(self) -> None:
        steps = 0
        while self.pull() or self.inbox:
            while self.inbox:
                self.answer(names_bad=True)
            steps += 1
            assert steps < 100, "it never ends"

    def check(self) -> None:
        for url, kind in self.types.items():
            kind.doubted = bool(kind.kept)
            now = self.world.now
            for name in NAMES[url]:
                there = now.resource(url, name)
                held, shown = kind.held.get(name), now.contents[url].get(name, "")
                where = f"{name} of {url.rpartition('.')[2]}"
                if not kind.wants(name):
                    assert held is None, f"{where} is held and not wanted"
                elif there is None:
                    told = self.protocol is DeltaClient or url in WHOLE_TYPES
                    used = url == CLUSTER and self._refuses_pointers()
                    assert held is None or used or not told, f"{where} is held and no more"
                elif shown.startswith(BAD) or kind.kept_from(name, shown):
                    assert name in kind.kept, f"{where} was never offered"
                    content, before = kind.kept[name]
                    assert content == shown, f"{where} was not offered again"
                    assert (held and held[0]) == before, f"the last good {where} was lost"
                else:
                    assert held == (shown, there.version), f"{where} is not the newest"
        self._check_endpoints_follow()

    def _refuses_pointers(self) -> bool:
        """Whether it keeps a listener or a route of before, and so the clusters of before."""
        return any(
            url in self.types and self.types[url].kept_from(name, content)
            for url in (LISTENER, ROUTE)
            for name, content in self.world.now.contents[url].items()
        )

    def _check_endpoints_follow(self) -> None:
        clusters, endpoints = self.types.get(CLUSTER), self.types.get(ENDPOINT)
        if clusters is None or endpoints is None:
            return
        now = self.world.now.contents[ENDPOINT]
        for name, when in clusters.applied.items():
            if name in endpoints.names and name in now and not now[name].startswith(BAD):
                assert endpoints.heard.get(name, 0) > when, f"{name} waits for its endpoints"
