"""What one client wants and holds of one resource type, as far as the server knows.

Both protocols keep this state. Requests and snapshots go in, what to send comes out; nothing is
sent here. After a change only the names that it was about are looked at, however many are held.

Rules cited as "xDS" are from Envoy's page "xDS REST and gRPC protocol" and discovery.proto.
"""

from collections.abc import Collection, Iterable, Mapping, Set

from controlplane.resources.resource import Resource
from controlplane.resources.snapshot import Snapshot
from controlplane.xds.contested import Contested
from controlplane.xds.holdings import Holdings, version_of
from controlplane.xds.interest import WILDCARD, Interest
from controlplane.xds.limits import MAX_VERSION_LENGTH, limit_names
from controlplane.xds.pending import ABSENT, Outstanding, Pending
from controlplane.xds.refusals import Refusals
from controlplane.xds.semantics import Semantics


class Subscription:
    """One resource type on one stream.

    Attributes:
        type_url: The type.
        interest: What the client wants.
        holdings: What it holds.
        refusals: What it refused.
        outstanding: The one response that is under way, if any.
        owes_answer: Whether a response is due even if there is nothing to put into it.
    """

    __slots__ = (
        "_claim",
        "_contested",
        "_due",
        "_inherited",
        "_semantics",
        "_unsure",
        "holdings",
        "interest",
        "outstanding",
        "owes_answer",
        "refusals",
        "type_url",
    )

    def __init__(
        self,
        type_url: str,
        semantics: Semantics,
        *,
        wildcard: bool = False,
        held: Mapping[str, str] | None = None,
        claim: str = "",
        inherited: Collection[str] = (),
    ) -> None:
        """Begin with a first request.

        Args:
            type_url: The type that it asks for.
            semantics: Of responses of this type.
            wildcard: Whether it asks for everything by asking for nothing.
            held: Its ``initial_resource_versions`` (delta).
            claim: Its ``version_info`` (state of the world): if this is the version of what it
                wants now, it holds that already.
            inherited: The names of what it has from an earlier stream in versions that are not
                known (state of the world); ``*`` for all.

        Raises:
            ProtocolError: When these are too many.
        """
        limit_names(len(held or ()), held or ())
        ours = {n: v if len(v) <= MAX_VERSION_LENGTH else "" for n, v in (held or {}).items()}
        self.type_url = type_url
        self.interest = Interest(wildcard)
        self.holdings = Holdings(ours, keep=semantics.repeats)
        # No version says what it took, on another stream, of a response that it rejected.
        self.refusals = Refusals(type_url, semantics, past_is_unknown=semantics.repeats)
        self.outstanding: Outstanding | None = None
        # Envoy's start waits for an answer to a wildcard, even if there is no resource at all.
        self.owes_answer = wildcard
        self._claim = claim
        self._contested = Contested()
        self._semantics = semantics
        # What the client has from an earlier stream, which the snapshot may say that it keeps.
        self._inherited = {*ours, *inherited}
        # To be answered whatever the client holds.
        self._due: set[str] = set()
        # Whose version may be another than the client's; any name where None.
        self._unsure: set[str] | None = None

    @property
    def has_work(self) -> bool:
        """Whether there may be something to send now."""
        return self.outstanding is None and bool(
            self.owes_answer
            or self._due
            or self._unsure is None
            or self._unsure
            or self._contested.leaving
        )

    @property
    def has_started(self) -> bool:
        """Whether the client holds what it wants, and there is nothing more to know about it."""
        return (
            not self.has_work
            and self.outstanding is None
            and not self._claim
            and self.refusals.is_clear
        )

    def is_like(self, other: "Subscription") -> bool:
        """Whether a settled subscription is in the same state as this settled one of its type."""
        return (
            self._semantics == other._semantics
            and self.interest == other.interest
            and self.holdings.versions == other.holdings.versions
            and self.holdings.good == other.holdings.good
            and self._inherited == other._inherited
        )

    def copy(self) -> "Subscription":
        """Another subscription in the same state."""
        other = Subscription.__new__(Subscription)
        for name in self.__slots__:
            value = getattr(self, name)
            is_state = isinstance(value, (set, Interest, Holdings, Refusals, Contested))
            setattr(other, name, value.copy() if is_state else value)
        return other

    def subscribe(self, names: Iterable[str]) -> None:
        """The client wants these as well; one that it wanted before is due again.

        Raises:
            ProtocolError: When it wants too many names.
        """
        had_all = self.interest.wildcard
        # xDS: "The server must respond with all resources listed in resource_names_subscribe,
        # even if it believes the client has the most recent version": the client may have dropped
        # and regained interest in between.
        self._due |= self.interest.add(names)
        if self.interest.wildcard and not had_all:
            self.owes_answer, self._unsure = True, None

    def unsubscribe(self, names: Iterable[str]) -> set[str]:
        """The client wants these no more.

        Returns:
            Those that it named and that the wildcard still covers.
        """
        had_all = self.interest.wildcard
        dropped = self.interest.drop(names)
        if self.interest.wildcard:
            return dropped
        self._inherited -= dropped
        # Forgotten, so that a later subscription is answered.
        self._forget(self._known() - self.interest.names if had_all else dropped)
        return set()

    def distrust(self) -> None:
        """What the client claimed to hold was about other names."""
        self._claim = ""

    def owe(self, names: Iterable[str]) -> None:
        """These are to be answered whatever the client holds."""
        self._due.update(names)

    def resend(self, names: Iterable[str]) -> None:
        """These, where they are wanted and not refused, are to be sent although they are held."""
        self._due.update(
            name
            for name in names
            if (
                name in self.interest.names
                or (self.interest.wildcard and name in self.holdings.versions)
            )
            and name not in self.refusals.resources
        )

    def look_again(self, names: Set[str] | None) -> None:
        """Take note of another snapshot: of what differs in it, or None if that is unknown."""
        if names is None:
            self._unsure = None
        elif self._unsure is not None:
            self._unsure |= self.interest.within(names)

    def pending(self, snapshot: Snapshot) -> Pending:
        """Compare what the client holds with what it should hold, where they may differ."""
        if self._claim:
            self._believe(snapshot)
        if self._inherited and not snapshot.keeps_any:
            self._inherited.clear()
        elif WILDCARD in self._inherited and snapshot.keeps(self.type_url, WILDCARD, None):
            # What is not in a response that says everything would be taken away by it.
            self._due, self._unsure, self.owes_answer = set(), set(), False
            return Pending()
        if leaving := self._contested.to_remove(self.type_url, snapshot):
            return Pending(removed=leaving)
        changed, absent, removed = [], [], []
        for name in sorted(self._uncertain(snapshot) | self._due):
            resource = snapshot.get(self.type_url, name)
            version = resource.version if resource else ABSENT
            known = self.holdings.versions.get(name, ABSENT)
            if known == version:
                self._inherited.discard(name)
            elif name in self._inherited and snapshot.keeps(self.type_url, name, known):
                # Looked at again once the snapshot says otherwise, which has all compared anew.
                self._due.discard(name)
                continue
            if name not in self._due and (
                # Versions are hashes of the content: the same version is the same resource.
                known == version
                # xDS: a rejected version is not sent again; only another one may be better.
                or self.refusals.include(name, version)
            ):
                continue
            if resource:
                changed.append(resource)
            elif known == ABSENT:
                # xDS (delta): a name that does not exist is answered in removed_resources; the
                # subscription stays, and the resource is sent when it comes to exist.
                absent.append(name)
            elif self._semantics.tells_removals or name in self._due:
                removed.append(name)
            else:
                self.holdings.accept(name, None)
        found = Pending(changed, absent, removed)
        self._unsure = {*found.contents}
        return found

    def whole(self, pending: Pending) -> list[Resource]:
        """All that the client should hold when it has accepted this: the last good of each."""
        good = self.holdings.good or {}
        contents = {**good, **self.refusals.repeated, **pending.contents}
        return [it for _, it in sorted(contents.items()) if it and it.name in self.interest]

    def sent(self, nonce: str, pending: Pending, plain_answer: bytes | None = None) -> None:
        """Note that a response is under way.

        Args:
            nonce: Of the response.
            pending: What is in it.
            plain_answer: The encoded request that would acknowledge it and say nothing else.
        """
        self.outstanding = Outstanding(nonce, pending.contents, plain_answer)
        self._due -= pending.contents.keys()
        self._inherited -= {WILDCARD, *pending.contents}
        if self._unsure:
            self._unsure -= pending.contents.keys()
        self.owes_answer = False

    def acknowledge(self) -> None:
        """The client accepted the outstanding response: it holds what that contained."""
        contents = self.outstanding.contents if self.outstanding else {}
        self._commit()
        for name, resource in self.refusals.accept().items():
            self.holdings.accept(name, resource)
        for name in self._contested.accepted(contents.keys()):
            self.refusals.forget(name)
            if self._unsure is not None:
                self._unsure.add(name)

    def reject(self, message: str) -> tuple[str, ...]:
        """The client rejected the outstanding response.

        Returns:
            The names of the resources that the rejection may be about.
        """
        contents = self.outstanding.contents if self.outstanding else {}
        sent = {name: resource for name, resource in contents.items() if resource}
        known = {**self.refusals.repeated, **sent}
        for name in contents.keys() - sent.keys():
            # Not repeated any more: the response said that it is no more.
            self.refusals.forget(name)
        verdict = self.refusals.reject(message, sent)
        refused = {name: known[name] for name in verdict.names if name in known}
        self._contested.refused(self.type_url, message, refused)
        self._contested.took_apart(contents.keys() - verdict.doubted)
        self._commit(verdict.doubted)
        for name, resource in verdict.taken.items():
            self.holdings.accept(name, resource)
        if (taken := sent.keys() - verdict.doubted) and not self.refusals.past_is_unknown:
            # It has the others, but notes their versions, by which it goes when it connects again,
            # only with a response that it accepts.
            if self._semantics.repeats:
                self.owes_answer = True
            else:
                self._due |= taken
        if self._unsure is not None:
            self._unsure |= verdict.suspected
        return verdict.names

    def _uncertain(self, snapshot: Snapshot) -> set[str]:
        if self._unsure is not None:
            return self._unsure
        wanted = self.interest.given(snapshot.names(self.type_url))
        return {*wanted, *(self.holdings.versions if self.interest.wildcard else ())}

    def _believe(self, snapshot: Snapshot) -> None:
        """Take the client's word for what it holds, if it is about just what it should hold."""
        claim, self._claim = self._claim, ""
        wanted = self.interest.given(snapshot.names(self.type_url))
        found = [it for name in wanted if (it := snapshot.get(self.type_url, name))]
        if claim == version_of(found):
            self.refusals.accept()
            self._inherited.clear()
            for resource in found:
                self.holdings.accept(resource.name, resource)
            self._due.clear()
            self.owes_answer = False

    def _commit(self, doubted: Set[str] = frozenset()) -> None:
        """The outstanding response is answered: all in it is held, but for what is in doubt."""
        outstanding, self.outstanding = self.outstanding, None
        for name, resource in (outstanding.contents if outstanding else {}).items():
            if name in doubted:
                self.holdings.doubt(name)
                continue
            self.refusals.forget(name)
            if resource or name in self.interest.names:
                self.holdings.accept(name, resource)
            else:
                self.holdings.forget(name)

    def _known(self) -> set[str]:
        under_way = self.outstanding.contents.keys() if self.outstanding else set()
        return self.holdings.versions.keys() | self._due | under_way | (self._unsure or set())

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self.holdings.forget(name)
            self.refusals.forget(name)
            self._contested.forget(name)
            self._due.discard(name)
            if self._unsure:
                self._unsure.discard(name)
            if self.outstanding:
                self.outstanding.contents.pop(name, None)
