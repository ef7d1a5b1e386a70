"""Which resources of one type a client rejected, and what that means for those beside them."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from controlplane.resources.resource import CLUSTER, LISTENER, Resource, Snapshot


@dataclass(frozen=True, slots=True)
class ResponseRules:
    """Where protocols, types and clients differ; the defaults are those of delta.

    Attributes:
        repeats: Whether a response has all that the client is to hold, and not only news.
        tells_removals: Whether a response can say that a resource is gone.
        names_bad_resources: Whether the client names the bad resources of every response of which
            it took the others; without names it took nothing. It matters where responses repeat.
    """

    repeats: bool = False
    tells_removals: bool = True
    names_bad_resources: bool = False


_REPORTS: Final = {
    CLUSTER: ("Error adding/updating cluster(s) ", ", "),
    LISTENER: ("Error adding/updating listener(s) ", " "),
}
"""How Envoy begins when it took the good ones of a response, and what it puts between the bad ones,
each of which is ``name: error`` (``CdsApiImpl`` and ``LdsApiImpl``; a line end, in the latter, is a
space once the message is cleaned). In every other message a name proves nothing: Envoy looked at no
other resource once it found a constraint violated, and a word may just be a pool's name."""

CUT: Final = "...(truncated)"
"""How Envoy ends a message that is longer than 4,096 bytes."""


def named_as_bad(type_url: str, message: str, names: Iterable[str]) -> set[str]:
    """Find the resources that a client's message names as bad; nothing where it does not tell."""
    begins, between = _REPORTS.get(type_url, ("", ""))
    if not begins or not message.startswith(begins):
        return set()
    errors = between + message.removeprefix(begins)
    return {name for name in names if f"{between}{name}: " in errors}


@dataclass(slots=True)
class AddressConflicts:
    """The listeners of one client that wait for an address that another listener has.

    Envoy takes the removals of a response first, then its listeners one by one, and rejects one
    whose address another listener still has (``listener_manager_impl.cc``). Of two that swap their
    addresses each has what the other is to have, and Envoy does not try a rejected listener again.
    So a listener that was rejected for its address is first removed, with the address that it is to
    leave, and then sent again. The control plane does not know the addresses of what a client has
    from another stream; the rejection tells all that is needed.

    Attributes:
        leaving: Names of listeners to remove first.
        tried: By name, the version that is sent a second time; rejected again, it waits until
            another listener has moved or gone.
        has_moved: Whether a rejection has shown that another listener moved.
    """

    leaving: set[str] = field(default_factory=set)
    tried: dict[str, str] = field(default_factory=dict)
    has_moved: bool = False

    def copy(self) -> "AddressConflicts":
        """Copy them."""
        return AddressConflicts(self.leaving.copy(), self.tried.copy(), self.has_moved)

    def rejected(self, type_url: str, message: str, rejected: Mapping[str, Resource]) -> None:
        """Note what a client rejected, by name, and with which message."""
        if type_url != LISTENER:
            return
        for name, resource in rejected.items():
            if f"'{name}' has duplicate address" not in message:
                self.tried.pop(name, None)
            elif self.tried.get(name) != resource.version:
                self.tried[name] = resource.version
                self.leaving.add(name)

    def to_remove(self, type_url: str, snapshot: Snapshot) -> list[str]:
        """Choose the listeners to remove now.

        A listener that shares its address with another one would win nothing, and lose what the
        client still holds of it.
        """
        if not self.leaving:
            return []
        listeners = snapshot.type(type_url)
        claims = [listener.claims for listener in listeners.values()]
        self.leaving &= {n for n, each in listeners.items() if claims.count(each.claims) == 1}
        return sorted(self.leaving)

    def accepted_partly(self, names: Iterable[str]) -> None:
        """Note what a client took of a response that it rejected."""
        for name in names:
            self.tried.pop(name, None)
            self.has_moved = True

    def accepted(self, names: Set[str]) -> Set[str]:
        """Note what a client accepted; returns the listeners whose address may be free now."""
        left = names & self.leaving
        self.leaving -= left
        self.accepted_partly(names - left)
        has_moved, self.has_moved = self.has_moved, False
        return left | (self.tried.keys() - self.leaving) if has_moved else left

    def forget(self, name: str) -> None:
        """Forget a listener that the client does not want any more."""
        self.leaving.discard(name)
        self.tried.pop(name, None)


class Verdict(NamedTuple):
    """The consequences of a NACK.

    Attributes:
        names: Of the resources that the NACK may be about, in order.
        doubted: Of those in the response: the client may hold them, or those before them. All
            others that were in it are accepted.
        suspected: The doubted ones that are sent once more, each alone.
        taken: What was rejected before and was in the response too: the client has it now.
    """

    names: tuple[str, ...]
    doubted: Set[str]
    suspected: Set[str]
    taken: Mapping[str, Resource]


@dataclass(slots=True)
class Nacks:
    """The resources that a client rejected and has not accepted since, by name.

    Attributes:
        suspects: Rejected together; each is tried once more, alone.
        may_hold_unknown: Whether the client may hold something that no acknowledgement tells of:
            what it took of a response that it rejected, here or on another stream. It does so until
            it accepts a response that has all that it is to hold.
    """

    type_url: str
    rules: ResponseRules
    resources: dict[str, Resource] = field(default_factory=dict)
    suspects: set[str] = field(default_factory=set)
    may_hold_unknown: bool = False

    @property
    def is_clear(self) -> bool:
        """Whether nothing is rejected, and nothing is held that is not known."""
        return not self.resources and not self.suspects and not self.may_hold_unknown

    @property
    def repeated(self) -> Mapping[str, Resource]:
        """What has to be in every response although the client rejected it.

        The client may hold these or, from another stream, good ones before them; leaving the names
        out would remove both. Rejecting them again keeps what it holds.
        """
        return self.resources if self.may_hold_unknown else {}

    def copy(self) -> "Nacks":
        """Copy them."""
        return replace(self, resources=self.resources.copy(), suspects=self.suspects.copy())

    def reject(self, message: str, sent: Mapping[str, Resource]) -> Verdict:
        """Take note of a NACK of what was new in a response; removals are never rejected.

        Where its message does not tell what is bad, each resource is sent once more, alone: one
        bad assignment would otherwise keep the good ones out until they change.
        """
        named = named_as_bad(self.type_url, message, sent.keys() | self.repeated.keys())
        names_all = bool(named) and not message.endswith(CUT)
        rejected_together = not names_all and len(sent) > 1
        if rejected_together and self.rules.repeats and not self.rules.names_bad_resources:
            # One alone would say that the others are no more, and it may have taken some of them:
            # they all stay in each response until one is accepted.
            self.may_hold_unknown = True
        doubted = sent.keys() & named if names_all else {*sent}
        tries_again = rejected_together and not self.may_hold_unknown
        # A client that names the bad ones took all others, including what was not new.
        repeated = self.repeated if names_all else {}
        taken = {
            n: resource for n, resource in repeated.items() if n not in named and n not in sent
        }
        for name in (*sent, *taken):
            self.forget(name)
        suspected = doubted - named if tries_again else frozenset()
        self.suspects |= suspected
        self.resources.update((name, sent[name]) for name in doubted - suspected)
        names = tuple(sorted(named or doubted))
        return Verdict(names, doubted, suspected, taken)

    def accept(self) -> Mapping[str, Resource]:
        """Take note of an ACK; returns what was rejected before and is in this response too."""
        accepted = self.repeated
        if self.may_hold_unknown:
            self.resources, self.may_hold_unknown = {}, False
        return accepted

    def forget(self, name: str) -> None:
        """Forget a resource that the client accepted, or does not want any more."""
        self.resources.pop(name, None)
        self.suspects.discard(name)

    def include(self, name: str, version: str) -> bool:
        """Whether the client rejected a resource in just this version."""
        rejected = self.resources.get(name)
        return rejected is not None and rejected.version == version

    def concern(self, snapshot: Snapshot) -> bool:
        """Whether the client rejected a resource in the version that the snapshot has."""
        there = (snapshot.get(self.type_url, name) for name in self.resources)
        return any(found is not None and self.include(found.name, found.version) for found in there)

    def isolate(self, snapshot: Snapshot) -> bool:
        """Whether resources must be sent one by one, so that a bad one harms no other."""
        return self.concern(snapshot) or any(
            snapshot.get(self.type_url, name) for name in self.suspects
        )
