"""What one client wants and holds of one resource type, as far as the server knows.

Both protocols keep this state and differ in one place each: how a request changes what is wanted
(here `change`, which adds and takes away; state of the world replaces), and how much of the type
a response repeats. Requests and snapshots go in, what to send comes out; nothing is sent here.

Rules cited as "xDS" are from Envoy's page "xDS REST and gRPC protocol" and discovery.proto.
"""

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Final

from controlplane.resources.resource import Resource
from controlplane.xds.errors import ProtocolError

WILDCARD: Final = "*"

MAX_NAMES: Final = 100_000
"""How many names a client may want, or say that it holds, of one type."""

MAX_NAME_LENGTH: Final = 1_024
"""Characters that a resource's name may have."""

ABSENT: Final = ""
"""In place of a version: the client was told that there is no resource of this name."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What a client should be sent; false if that is nothing.

    Attributes:
        changed: Resources that it lacks or holds in another version.
        absent: Names that it asked for and that do not exist.
        removed: Names that it may still hold and that are no more.
    """

    changed: tuple[Resource, ...] = ()
    absent: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.absent or self.removed)

    @property
    def versions(self) -> dict[str, str]:
        """What the client holds by name once it has accepted all this."""
        gone = dict.fromkeys((*self.absent, *self.removed), ABSENT)
        return gone | {resource.name: resource.version for resource in self.changed}


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A response that was sent and not yet acknowledged or rejected."""

    nonce: str
    versions: dict[str, str]


class Subscription:
    """One resource type on one stream.

    Attributes:
        wildcard: Whether every resource is wanted.
        names: Those wanted by name, with or without the wildcard.
        held: Versions by name that the client acknowledged; None where it is not known which.
        refused: Versions by name that the client rejected last.
        suspects: Names that it rejected together; each is tried once more, alone.
        outstanding: The one response that is under way, if any.
        owes_answer: Whether a response is due even if there is nothing to put into it.
    """

    def __init__(self, *, wildcard: bool = False, held: Mapping[str, str] | None = None) -> None:
        """Begin with a first request.

        Args:
            wildcard: Whether the request asks for everything by asking for nothing.
            held: Its ``initial_resource_versions``.

        Raises:
            ProtocolError: When these are too many.
        """
        self.wildcard = wildcard
        self.names: set[str] = set()
        self.held: dict[str, str | None] = {n: v or None for n, v in (held or {}).items()}
        self.refused: dict[str, str] = {}
        self.suspects: set[str] = set()
        self.outstanding: Outstanding | None = None
        # Envoy's start waits for an answer to a wildcard, even if there is no resource at all.
        self.owes_answer = wildcard
        self._due: set[str] = set()
        _limit(len(self.held), self.held)

    def change(self, subscribe: Iterable[str], unsubscribe: Iterable[str]) -> None:
        """Apply what a delta request adds and takes away.

        Raises:
            ProtocolError: When the client wants too many names.
        """
        added = set(subscribe)
        _limit(len(self.names | added), added)
        for name in added:
            if name == WILDCARD:
                self.owes_answer |= not self.wildcard
                self.wildcard = True
            else:
                # xDS: "The server must respond with all resources listed in
                # resource_names_subscribe, even if it believes the client has the most recent
                # version": the client may have dropped and regained interest in between.
                self.names.add(name)
                self._due.add(name)
        for name in unsubscribe:
            if name == WILDCARD:
                self.wildcard = False
                self._forget(self._known() - self.names)
            elif name in self.names:
                self.names.remove(name)
                if self.wildcard:
                    # xDS: the client cannot know whether the wildcard still covers the name; the
                    # server must send the resource, or say that it is removed.
                    self._due.add(name)
                else:
                    # xDS: no reply needed. Forgotten, so that a later subscription is answered.
                    self._forget({name})

    def resend(self, names: Iterable[str]) -> None:
        """Make wanted resources due although the client holds them, unless it refuses them."""
        self._due.update(
            name
            for name in names
            if (name in self.names or (self.wildcard and name in self.held))
            and name not in self.refused
        )

    def pending(self, available: Mapping[str, Resource]) -> Pending:
        """Compare what the client holds with the resources that it should see."""
        wanted = self.names | self._due
        if self.wildcard:
            wanted |= available.keys() | self.held.keys()
        changed, absent, removed = [], [], []
        for name in sorted(wanted):
            resource = available.get(name)
            version = resource.version if resource else ABSENT
            if name not in self._due and (
                # Versions are hashes of the content: the same version is the same resource.
                self.held.get(name) == version
                # xDS: a rejected version is not sent again; only another one may be better.
                or self.refused.get(name) == version
            ):
                continue
            if resource:
                changed.append(resource)
            elif self.held.get(name, ABSENT) == ABSENT:
                # xDS (delta): a name that does not exist is answered in removed_resources; the
                # subscription stays, and the resource is sent when it comes to exist.
                absent.append(name)
            else:
                removed.append(name)
        return Pending(tuple(changed), tuple(absent), tuple(removed))

    def sent(self, nonce: str, pending: Pending) -> None:
        """Note that a response is under way."""
        self.outstanding = Outstanding(nonce, pending.versions)
        self._due -= self.outstanding.versions.keys()
        self.owes_answer = False

    def acknowledge(self) -> None:
        """The client accepted the outstanding response: it holds what that contained."""
        self._commit()

    def reject(self, message: str) -> tuple[str, ...]:
        """The client rejected the outstanding response.

        A client rejects a response as a whole, whatever it did with the resources in it. Envoy
        applies the good clusters and listeners and names the bad ones in its message: then the
        rest counts as accepted. Endpoints it applies up to the first bad one and names none: then
        each of them is sent once more, alone, or one bad assignment would keep the good ones
        out until they change. Removals are never rejected.

        Args:
            message: The client's words.

        Returns:
            The names of the resources that the rejection may be about.
        """
        versions = self.outstanding.versions if self.outstanding else {}
        sent = [name for name, version in versions.items() if version != ABSENT]
        named = [name for name in sent if _mentions(message, name)]
        if named or len(sent) == 1:
            self._commit(refused=set(named or sent))
            return tuple(named or sent)
        self._commit(unknown=set(sent))
        self.suspects.update(sent)
        return tuple(sent)

    def isolates(self, available: Mapping[str, Resource]) -> bool:
        """Whether resources must be sent one by one, so that a bad one harms no other."""
        return self.refuses(available) or not self.suspects.isdisjoint(available)

    def refuses(self, available: Mapping[str, Resource]) -> bool:
        """Whether the client rejected any of these in the version that they have now."""
        return any(
            name in available and available[name].version == version
            for name, version in self.refused.items()
        )

    def _commit(self, *, refused: Set[str] = frozenset(), unknown: Set[str] = frozenset()) -> None:
        outstanding, self.outstanding = self.outstanding, None
        for name, version in (outstanding.versions if outstanding else {}).items():
            self.refused.pop(name, None)
            self.suspects.discard(name)
            if name in refused:
                self.refused[name] = version
            if name in refused or name in unknown:
                # It holds the version before, or nothing, or even this one. Any other is news.
                self.held[name] = None
            elif version == ABSENT and name not in self.names:
                self.held.pop(name, None)
            else:
                self.held[name] = version

    def _known(self) -> set[str]:
        under_way = self.outstanding.versions.keys() if self.outstanding else set()
        return self.held.keys() | self.refused.keys() | self._due | under_way

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self.held.pop(name, None)
            self.refused.pop(name, None)
            self.suspects.discard(name)
            self._due.discard(name)
            if self.outstanding:
                self.outstanding.versions.pop(name, None)


def _mentions(message: str, name: str) -> bool:
    """Whether a text has a resource's name in it, and not only as a part of a longer one."""
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", message) is not None


def _limit(count: int, names: Iterable[str]) -> None:
    if count > MAX_NAMES:
        raise ProtocolError("RESOURCE_EXHAUSTED", f"more than {MAX_NAMES} resource names")
    if any(len(name) > MAX_NAME_LENGTH for name in names):
        raise ProtocolError(
            "INVALID_ARGUMENT", f"a resource name is longer than {MAX_NAME_LENGTH} characters"
        )
