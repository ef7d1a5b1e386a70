"""The server's knowledge of what one client wants and holds of one resource type.

Both protocols keep this state. Requests and snapshots go in, what to send comes out; nothing is
sent here. After a change only the names that it was about are looked at, however many are held.

Rules cited as "xDS" are from Envoy's page "xDS REST and gRPC protocol" and discovery.proto.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from controlplane.resources.resource import Resource, Snapshot
from controlplane.xds.holdings import ABSENT, Holdings, Outstanding, Pending, version_of
from controlplane.xds.nack import AddressConflicts, Nacks, ResponseRules
from controlplane.xds.node import ProtocolError

WILDCARD: Final = "*"
"""xDS: the name by which a client asks for every resource."""


MAX_NAMES: Final = 20_000
"""How many names a client may want, or say that it holds, of one type: more than the clusters of
2,000 pools with eight classes each. All of them are looked at in one go."""

MAX_NAME_LENGTH: Final = 1_024
"""Characters that a resource's name may have."""

MAX_VERSION_LENGTH: Final = 64
"""Characters of a version that a client may claim to hold; ours have 16, and a longer one says as
little as none."""


def limit_names(count: int, names: Iterable[str]) -> None:
    """Check how many names there are now, and the length of the new ones."""
    if count > MAX_NAMES:
        raise ProtocolError("RESOURCE_EXHAUSTED", f"more than {MAX_NAMES} resource names")
    if any(len(name) > MAX_NAME_LENGTH for name in names):
        raise ProtocolError(
            "INVALID_ARGUMENT", f"a resource name is longer than {MAX_NAME_LENGTH} characters"
        )


@dataclass(slots=True)
class WantedNames:
    """The names that a client wants; they need not exist.

    Attributes:
        wildcard: Whether every resource is wanted, beside the names.
        named: Whether the client ever asked for anything by name, the wildcard included. Until then
            no request has to repeat the wildcard.
    """

    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    named: bool = False

    def __contains__(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def copy(self) -> "WantedNames":
        """Copy them."""
        return WantedNames(self.wildcard, self.names.copy(), self.named)

    def add(self, names: Iterable[str]) -> set[str]:
        """Add names that the client wants; returns them without the wildcard."""
        added = set(names)
        limit_names(len(self.names | added), added)
        self.named |= bool(added)
        self.wildcard |= WILDCARD in added
        added.discard(WILDCARD)
        self.names |= added
        return added

    def drop(self, names: Iterable[str]) -> set[str]:
        """Remove names; returns the ones that the client had asked for, without the wildcard."""
        dropped = set(names)
        if WILDCARD in dropped:
            self.wildcard = False
        dropped &= self.names
        self.names -= dropped
        return dropped

    def within(self, names: Set[str]) -> Set[str]:
        """Choose the names that are wanted."""
        return names if self.wildcard else names & self.names

    def given(self, existing: Callable[[], Collection[str]]) -> Set[str]:
        """List all names that are wanted; `existing` lists the resources that there are."""
        return self.names | {*existing()} if self.wildcard else self.names


class Subscription:
    """One resource type on one stream: what the client wants, holds and rejected.

    One response at a time is outstanding.

    Attributes:
        must_answer: A response is due even if nothing is in it.
        claim: The version that the client claims to hold, until that is checked.
        forced: Names to be answered whatever the client holds.
    """

    def __init__(
        self,
        type_url: str,
        rules: ResponseRules,
        *,
        wildcard: bool = False,
        held: Mapping[str, str] | None = None,
        claim: str = "",
        inherited: Collection[str] = (),
    ) -> None:
        """Begin with a first request; too many names are a `ProtocolError`.

        Args:
            wildcard: Whether it asks for everything by asking for nothing.
            held: Its ``initial_resource_versions`` (delta).
            claim: Its ``version_info`` (state of the world): if this is the version of what it
                wants now, it holds that already.
            inherited: The names of what it has from an earlier stream in versions that are not
                known (state of the world); ``*`` for all.
        """
        limit_names(len(held or ()), held or ())
        ours = {n: v if len(v) <= MAX_VERSION_LENGTH else "" for n, v in (held or {}).items()}
        self.type_url = type_url
        self.wanted_names = WantedNames(wildcard)
        self.holdings = Holdings(ours, keep=rules.repeats)
        # No version says what it took, on another stream, of a response that it rejected.
        self.nacks = Nacks(type_url, rules, may_hold_unknown=rules.repeats)
        self.outstanding: Outstanding | None = None
        # Envoy's start waits for an answer to a wildcard, even if there is no resource at all.
        self.must_answer = wildcard
        self.claim = claim
        self._conflicts = AddressConflicts()
        self._rules = rules
        # The resources from an earlier stream that the client may keep, as the snapshot says.
        self._inherited = {*ours, *inherited}
        self.forced: set[str] = set()
        # Whose version may be another than the client's; any name where None.
        self._dirty: set[str] | None = None

    @property
    def has_work(self) -> bool:
        """Whether there may be something to send now."""
        return self.outstanding is None and bool(
            self.must_answer
            or self.forced
            or self._dirty is None
            or self._dirty
            or self._conflicts.leaving
        )

    @property
    def is_settled(self) -> bool:
        """Whether the client holds what it wants, and there is nothing more to know about it."""
        return (
            not self.has_work
            and self.outstanding is None
            and not self.claim
            and self.nacks.is_clear
        )

    def is_same_as(self, other: "Subscription") -> bool:
        """Whether a settled subscription is in the same state as this settled one of its type."""
        return (
            self._rules == other._rules
            and self.wanted_names == other.wanted_names
            and self.holdings.versions == other.holdings.versions
            and self.holdings.good == other.holdings.good
            and self._inherited == other._inherited
        )

    def copy(self) -> "Subscription":
        """Copy the state."""
        other = Subscription.__new__(Subscription)
        for name, value in vars(self).items():
            is_state = isinstance(value, (set, WantedNames, Holdings, Nacks, AddressConflicts))
            setattr(other, name, value.copy() if is_state else value)
        return other

    def subscribe(self, names: Iterable[str]) -> None:
        """Add names that the client wants; a name that it wanted before is answered again."""
        had_all = self.wanted_names.wildcard
        # xDS: "The server must respond with all resources listed in resource_names_subscribe,
        # even if it believes the client has the most recent version": the client may have dropped
        # and regained interest in between.
        self.forced |= self.wanted_names.add(names)
        if self.wanted_names.wildcard and not had_all:
            self.must_answer, self._dirty = True, None

    def unsubscribe(self, names: Iterable[str]) -> set[str]:
        """Remove names; returns the removed names that the wildcard still covers."""
        had_all = self.wanted_names.wildcard
        dropped = self.wanted_names.drop(names)
        if self.wanted_names.wildcard:
            return dropped
        self._inherited -= dropped
        # Forgotten, so that a later subscription is answered.
        self._forget(self._known() - self.wanted_names.names if had_all else dropped)
        return set()

    def resend(self, names: Iterable[str]) -> None:
        """Send these, where they are wanted and not rejected, although the client holds them."""
        self.forced.update(
            name
            for name in names
            if (
                name in self.wanted_names.names
                or (self.wanted_names.wildcard and name in self.holdings.versions)
            )
            and name not in self.nacks.resources
        )

    def mark_dirty(self, names: Set[str] | None) -> None:
        """Note the names to compare again with a new snapshot; None for all of them."""
        if names is None:
            self._dirty = None
        elif self._dirty is not None:
            self._dirty |= self.wanted_names.within(names)

    def pending(self, snapshot: Snapshot) -> Pending:
        """Compare what the client holds with what it should hold, where they may differ."""
        if self.claim:
            self._check_claim(snapshot)
        if self._inherited and not snapshot.keeps_any:
            self._inherited.clear()
        elif WILDCARD in self._inherited and snapshot.keeps(self.type_url, WILDCARD, None):
            # What is not in a response that says everything would be taken away by it.
            self.forced, self._dirty, self.must_answer = set(), set(), False
            return Pending()
        if leaving := self._conflicts.to_remove(self.type_url, snapshot):
            return Pending(removed=leaving)
        changed, absent, removed = [], [], []
        for name in sorted(self._to_compare(snapshot) | self.forced):
            resource = snapshot.get(self.type_url, name)
            version = resource.version if resource else ABSENT
            known = self.holdings.versions.get(name, ABSENT)
            if known == version:
                self._inherited.discard(name)
            elif name in self._inherited and snapshot.keeps(self.type_url, name, known):
                # Looked at again once the snapshot says otherwise, which has all compared anew.
                self.forced.discard(name)
                continue
            if name not in self.forced and (
                # Versions are hashes of the content: the same version is the same resource.
                known == version
                # xDS: a rejected version is not sent again; only another one may be better.
                or self.nacks.include(name, version)
            ):
                continue
            if resource:
                changed.append(resource)
            elif known == ABSENT:
                # xDS (delta): a name that does not exist is answered in removed_resources; the
                # subscription stays, and the resource is sent when it comes to exist.
                absent.append(name)
            elif self._rules.tells_removals or name in self.forced:
                removed.append(name)
            else:
                self.holdings.accept(name, None)
        found = Pending(changed, absent, removed)
        self._dirty = {*found.contents}
        return found

    def whole(self, pending: Pending) -> list[Resource]:
        """List what the client should hold once it has accepted this: the last good of each."""
        good = self.holdings.good or {}
        contents = {**good, **self.nacks.repeated, **pending.contents}
        return [
            resource
            for _, resource in sorted(contents.items())
            if resource and resource.name in self.wanted_names
        ]

    def sent(self, nonce: str, pending: Pending) -> None:
        """Note that a response with this nonce is under way."""
        self.outstanding = Outstanding(nonce, pending.contents)
        self.forced -= pending.contents.keys()
        self._inherited -= {WILDCARD, *pending.contents}
        if self._dirty:
            self._dirty -= pending.contents.keys()
        self.must_answer = False

    def acknowledge(self) -> None:
        """Take note of an ACK: the client holds what the outstanding response contained."""
        contents = self.outstanding.contents if self.outstanding else {}
        self._commit()
        for name, resource in self.nacks.accept().items():
            self.holdings.accept(name, resource)
        for name in self._conflicts.accepted(contents.keys()):
            self.nacks.forget(name)
            if self._dirty is not None:
                self._dirty.add(name)

    def reject(self, message: str) -> tuple[str, ...]:
        """Take note of a NACK of the outstanding response; returns the names it may be about."""
        contents = self.outstanding.contents if self.outstanding else {}
        sent = {name: resource for name, resource in contents.items() if resource}
        known = {**self.nacks.repeated, **sent}
        for name in contents.keys() - sent.keys():
            # Not repeated any more: the response removed it.
            self.nacks.forget(name)
        verdict = self.nacks.reject(message, sent)
        rejected = {name: known[name] for name in verdict.names if name in known}
        self._conflicts.rejected(self.type_url, message, rejected)
        self._conflicts.accepted_partly(contents.keys() - verdict.doubted)
        self._commit(verdict.doubted)
        for name, resource in verdict.taken.items():
            self.holdings.accept(name, resource)
        if (taken := sent.keys() - verdict.doubted) and not self.nacks.may_hold_unknown:
            # It has the others, but notes their versions, by which it goes when it connects again,
            # only with a response that it accepts.
            if self._rules.repeats:
                self.must_answer = True
            else:
                self.forced |= taken
        if self._dirty is not None:
            self._dirty |= verdict.suspected
        return verdict.names

    def _to_compare(self, snapshot: Snapshot) -> set[str]:
        if self._dirty is not None:
            return self._dirty
        wanted = self.wanted_names.given(partial(snapshot.names, self.type_url))
        return {*wanted, *(self.holdings.versions if self.wanted_names.wildcard else ())}

    def _check_claim(self, snapshot: Snapshot) -> None:
        """Believe what the client claims to hold, if that is just what it should hold."""
        claim, self.claim = self.claim, ""
        wanted = self.wanted_names.given(partial(snapshot.names, self.type_url))
        found = [resource for name in wanted if (resource := snapshot.get(self.type_url, name))]
        if claim == version_of(found):
            self.nacks.accept()
            self._inherited.clear()
            for resource in found:
                self.holdings.accept(resource.name, resource)
            self.forced.clear()
            self.must_answer = False

    def _commit(self, doubted: Set[str] = frozenset()) -> None:
        """Count all in the outstanding response as held, but for what is in doubt."""
        outstanding, self.outstanding = self.outstanding, None
        for name, resource in (outstanding.contents if outstanding else {}).items():
            if name in doubted:
                self.holdings.doubt(name)
                continue
            self.nacks.forget(name)
            if resource or name in self.wanted_names.names:
                self.holdings.accept(name, resource)
            else:
                self.holdings.forget(name)

    def _known(self) -> set[str]:
        under_way = self.outstanding.contents.keys() if self.outstanding else set()
        return self.holdings.versions.keys() | self.forced | under_way | (self._dirty or set())

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self.holdings.forget(name)
            self.nacks.forget(name)
            self._conflicts.forget(name)
            self.forced.discard(name)
            if self._dirty:
                self._dirty.discard(name)
            if self.outstanding:
                self.outstanding.contents.pop(name, None)
