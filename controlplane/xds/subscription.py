"""What one client wants and holds of one resource type, as far as the server knows.

Both protocols keep this state. Requests and snapshots go in, what to send comes out; nothing is
sent here. After a change only the names that it was about are looked at, however many are held.

Rules cited as "xDS" are from Envoy's page "xDS REST and gRPC protocol" and discovery.proto.
"""

from collections.abc import Iterable, Mapping, Set
from typing import Final

from controlplane.resources.resource import Resource
from controlplane.resources.snapshot import Snapshot
from controlplane.xds.holdings import Holdings, version_of
from controlplane.xds.limits import limit_names
from controlplane.xds.pending import ABSENT, Outstanding, Pending
from controlplane.xds.rejections import blamed

WILDCARD: Final = "*"


class Subscription:
    """One resource type on one stream.

    Attributes:
        type_url: The type.
        wildcard: Whether every resource is wanted.
        names: Those wanted by name, with or without the wildcard.
        named: Whether the client ever asked for anything by name, the wildcard included.
        holdings: What the client holds.
        refused: What the client rejected last, by name.
        outstanding: The one response that is under way, if any.
        owes_answer: Whether a response is due even if there is nothing to put into it.
    """

    __slots__ = (
        "_claim",
        "_due",
        "_has_unknown_past",
        "_names_what_it_took_apart",
        "_suspects",
        "_tells_removals",
        "_unsure",
        "holdings",
        "named",
        "names",
        "outstanding",
        "owes_answer",
        "refused",
        "type_url",
        "wildcard",
    )

    def __init__(
        self,
        type_url: str,
        *,
        wildcard: bool = False,
        held: Mapping[str, str] | None = None,
        claim: str = "",
        repeats: bool = False,
        tells_removals: bool = True,
        names_what_it_took_apart: bool = False,
    ) -> None:
        """Begin with a first request.

        Args:
            type_url: The type that it asks for.
            wildcard: Whether it asks for everything by asking for nothing.
            held: Its ``initial_resource_versions`` (delta).
            claim: Its ``version_info`` (state of the world): if this is the version of what it
                wants now, it holds that already.
            repeats: Whether a response has all that the client is to hold, and not only news.
            tells_removals: Whether a response can say that a resource is no more.
            names_what_it_took_apart: Whether the client names the bad resources of every response
                of which it took the others, so that of one without names it took nothing.

        Raises:
            ProtocolError: When these are too many.
        """
        limit_names(len(held or ()), held or ())
        self.type_url = type_url
        self.wildcard = wildcard
        self.names: set[str] = set()
        self.named = False
        self.holdings = Holdings(held or {}, keep=repeats)
        self.refused: dict[str, Resource] = {}
        self.outstanding: Outstanding | None = None
        # Envoy's start waits for an answer to a wildcard, even if there is no resource at all.
        self.owes_answer = wildcard
        self._claim = claim
        # A client may hold what it took of a response that it refused, and no version says so.
        self._has_unknown_past = repeats
        self._tells_removals = tells_removals
        self._names_what_it_took_apart = names_what_it_took_apart
        # Rejected together; each is tried once more, alone.
        self._suspects: set[str] = set()
        # To be answered whatever the client holds.
        self._due: set[str] = set()
        # Whose version may be another than the client's; any name where None.
        self._unsure: set[str] | None = None

    @property
    def has_work(self) -> bool:
        """Whether there may be something to send now."""
        return self.outstanding is None and bool(
            self.owes_answer or self._due or self._unsure is None or self._unsure
        )

    @property
    def is_settled(self) -> bool:
        """Whether the client holds what it wants, and there is nothing more to know about it."""
        return (
            not self.has_work
            and self.outstanding is None
            and not self.refused
            and not self._suspects
            and not self._claim
            and not self._has_unknown_past
        )

    def is_like(self, other: "Subscription") -> bool:
        """Whether a settled subscription is in the same state as this settled one of its type."""
        return (
            (self.wildcard, self.named, self._tells_removals, self._names_what_it_took_apart)
            == (
                other.wildcard,
                other.named,
                other._tells_removals,
                other._names_what_it_took_apart,
            )
            and self.names == other.names
            and self.holdings.versions == other.holdings.versions
            and self.holdings.good == other.holdings.good
        )

    def copy(self) -> "Subscription":
        """Another subscription in the same state."""
        other = Subscription.__new__(Subscription)
        for name in self.__slots__:
            value = getattr(self, name)
            other_value = value.copy() if isinstance(value, (set, dict, Holdings)) else value
            setattr(other, name, other_value)
        return other

    def subscribe(self, names: Iterable[str]) -> None:
        """The client wants these as well; one that it wanted before is due again.

        Raises:
            ProtocolError: When it wants too many names.
        """
        added = set(names)
        limit_names(len(self.names | added), added)
        self.named |= bool(added)
        if WILDCARD in added:
            added.remove(WILDCARD)
            if not self.wildcard:
                self.owes_answer, self.wildcard, self._unsure = True, True, None
        # xDS: "The server must respond with all resources listed in resource_names_subscribe,
        # even if it believes the client has the most recent version": the client may have dropped
        # and regained interest in between.
        self.names |= added
        self._due |= added

    def unsubscribe(self, names: Iterable[str]) -> set[str]:
        """The client wants these no more.

        Returns:
            Those that it named and that the wildcard still covers.
        """
        dropped = set(names)
        if WILDCARD in dropped:
            self.wildcard = False
            self._forget(self._known() - self.names)
        dropped &= self.names
        self.names -= dropped
        if self.wildcard:
            return dropped
        # Forgotten, so that a later subscription is answered.
        self._forget(dropped)
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
            if (name in self.names or (self.wildcard and name in self.holdings.versions))
            and name not in self.refused
        )

    def look_again(self, names: Set[str] | None) -> None:
        """Take note of another snapshot: of what differs in it, or None if that is unknown."""
        if names is None:
            self._unsure = None
        elif self._unsure is not None:
            self._unsure |= names if self.wildcard else names & self.names

    def pending(self, snapshot: Snapshot) -> Pending:
        """Compare what the client holds with what it should hold, where they may differ."""
        if self._claim:
            self._believe(snapshot)
        changed, absent, removed = [], [], []
        for name in sorted(self._uncertain(snapshot) | self._due):
            resource = snapshot.get(self.type_url, name)
            version = resource.version if resource else ABSENT
            known = self.holdings.versions.get(name, ABSENT)
            if name not in self._due and (
                # Versions are hashes of the content: the same version is the same resource.
                known == version
                # xDS: a rejected version is not sent again; only another one may be better.
                or (name in self.refused and self.refused[name].version == version)
            ):
                continue
            if resource:
                changed.append(resource)
            elif known == ABSENT:
                # xDS (delta): a name that does not exist is answered in removed_resources; the
                # subscription stays, and the resource is sent when it comes to exist.
                absent.append(name)
            elif self._tells_removals or name in self._due:
                removed.append(name)
            else:
                self.holdings.accept(name, None)
        found = Pending(changed, absent, removed)
        self._unsure = {*found.contents}
        return found

    def whole(self, pending: Pending) -> list[Resource]:
        """All that the client should hold when it has accepted this: the last good of each."""
        contents: dict[str, Resource | None] = {**(self.holdings.good or {})}
        if self._has_unknown_past:
            # It may hold these or, from another stream, good ones before them; leaving the names
            # out would remove both. Refusing them again keeps what it holds.
            contents.update(self.refused)
        contents.update(pending.contents)
        return [it for _, it in sorted(contents.items()) if it and self._wants(it.name)]

    def sent(self, nonce: str, pending: Pending, plain_answer: bytes | None = None) -> None:
        """Note that a response is under way.

        Args:
            nonce: Of the response.
            pending: What is in it.
            plain_answer: The encoded request that would acknowledge it and say nothing else.
        """
        self.outstanding = Outstanding(nonce, pending.contents, plain_answer)
        self._due -= pending.contents.keys()
        if self._unsure:
            self._unsure -= pending.contents.keys()
        self.owes_answer = False

    def acknowledge(self) -> None:
        """The client accepted the outstanding response: it holds what that contained."""
        self._commit()
        if self._has_unknown_past:
            # What it had refused before was in it too, and is not refused any more.
            for name, resource in self.refused.items():
                self.holdings.accept(name, resource)
            self.refused.clear()
            self._has_unknown_past = False

    def reject(self, message: str) -> tuple[str, ...]:
        """The client rejected the outstanding response.

        Where its words do not tell what is bad, each resource is sent once more, alone, or one bad
        assignment would keep the good ones out until they change. Removals are never rejected.

        Returns:
            The names of the resources that the rejection may be about.
        """
        contents = self.outstanding.contents if self.outstanding else {}
        sent = {name for name, resource in contents.items() if resource}
        repeated = self.refused.keys() if self._has_unknown_past else set()
        if named := blamed(self.type_url, message, sent | repeated):
            self._commit(refused=named & sent)
            return tuple(sorted(named))
        repeats = self.holdings.good is not None
        if repeats and len(sent) > 1 and not self._names_what_it_took_apart:
            # One alone would say that the others are no more, and it may have taken some of them:
            # they all stay in each response until one is accepted.
            self._has_unknown_past = True
        if len(sent) == 1 or self._has_unknown_past:
            self._commit(refused=sent)
        else:
            self._commit(suspected=sent)
        return tuple(sorted(sent))

    def isolates(self, snapshot: Snapshot) -> bool:
        """Whether resources must be sent one by one, so that a bad one harms no other."""
        if not self.refused and not self._suspects:
            return False
        return self.refuses(snapshot) or any(
            snapshot.get(self.type_url, name) for name in self._suspects
        )

    def refuses(self, snapshot: Snapshot) -> bool:
        """Whether the client rejected any of these in the version that they have now."""
        return any(
            (resource := snapshot.get(self.type_url, name)) is not None
            and resource.version == refused.version
            for name, refused in self.refused.items()
        )

    def _uncertain(self, snapshot: Snapshot) -> set[str]:
        if self._unsure is not None:
            return self._unsure
        if not self.wildcard:
            return self.names
        return self.names | self.holdings.versions.keys() | {*snapshot.names(self.type_url)}

    def _believe(self, snapshot: Snapshot) -> None:
        """Take the client's word for what it holds, if it is about just what it should hold."""
        claim, self._claim = self._claim, ""
        wanted = snapshot.names(self.type_url) if self.wildcard else self.names
        found = [it for name in wanted if (it := snapshot.get(self.type_url, name))]
        if claim == version_of(found):
            self._has_unknown_past = False
            for resource in found:
                self.holdings.accept(resource.name, resource)
            self._due.clear()
            self.owes_answer = False

    def _commit(
        self, *, refused: Set[str] = frozenset(), suspected: Set[str] = frozenset()
    ) -> None:
        outstanding, self.outstanding = self.outstanding, None
        for name, resource in (outstanding.contents if outstanding else {}).items():
            self.refused.pop(name, None)
            self._suspects.discard(name)
            if resource and name in refused:
                self.refused[name] = resource
            if name in refused or name in suspected:
                self.holdings.doubt(name)
            elif resource or name in self.names:
                self.holdings.accept(name, resource)
            else:
                self.holdings.forget(name)
        self._suspects |= suspected
        if self._unsure is not None:
            self._unsure |= suspected

    def _wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def _known(self) -> set[str]:
        under_way = self.outstanding.contents.keys() if self.outstanding else set()
        return self.holdings.versions.keys() | self._due | under_way | (self._unsure or set())

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self.holdings.forget(name)
            self.refused.pop(name, None)
            self._suspects.discard(name)
            self._due.discard(name)
            if self._unsure:
                self._unsure.discard(name)
            if self.outstanding:
                self.outstanding.contents.pop(name, None)
