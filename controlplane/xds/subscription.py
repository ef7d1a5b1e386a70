"""What one client wants and holds of one resource type, as far as the server knows.

Both protocols keep this state. Requests and snapshots go in, what to send comes out; nothing is
sent here. After a change only the names that it was about are looked at, however many are held.

Rules cited as "xDS" are from Envoy's page "xDS REST and gRPC protocol" and discovery.proto.
"""

from collections.abc import Iterable, Mapping, Set
from typing import Final

from controlplane.resources.resource import Resource
from controlplane.resources.snapshot import Changes, Snapshot
from controlplane.xds.holdings import Holdings, version_of
from controlplane.xds.limits import limit_names
from controlplane.xds.pending import ABSENT, Outstanding, Pending, mentions

WILDCARD: Final = "*"


class Subscription:
    """One resource type on one stream.

    Attributes:
        type_url: The type.
        wildcard: Whether every resource is wanted.
        names: Those wanted by name, with or without the wildcard.
        named: Whether the client ever asked for anything by name, the wildcard included.
        holdings: What the client holds.
        refused: Versions by name that the client rejected last.
        outstanding: The one response that is under way, if any.
        owes_answer: Whether a response is due even if there is nothing to put into it.
    """

    def __init__(
        self,
        type_url: str,
        *,
        wildcard: bool = False,
        held: Mapping[str, str] | None = None,
        claim: str = "",
        repeats: bool = False,
        tells_removals: bool = True,
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

        Raises:
            ProtocolError: When these are too many.
        """
        limit_names(len(held or ()), held or ())
        self.type_url = type_url
        self.wildcard = wildcard
        self.names: set[str] = set()
        self.named = False
        self.holdings = Holdings(held or {}, keep=repeats)
        self.refused: dict[str, str] = {}
        self.outstanding: Outstanding | None = None
        # Envoy's start waits for an answer to a wildcard, even if there is no resource at all.
        self.owes_answer = wildcard
        self._claim = claim
        self._has_unknown_past = bool(claim)
        self._tells_removals = tells_removals
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
        covered = set()
        for name in names:
            if name == WILDCARD:
                self.wildcard = False
                self._forget(self._known() - self.names)
            elif name in self.names:
                self.names.remove(name)
                if self.wildcard:
                    covered.add(name)
                else:
                    # Forgotten, so that a later subscription is answered.
                    self._forget({name})
        return covered

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

    def look_again(self, changes: Changes | None) -> None:
        """Take note of another snapshot: of what differs in it, or None if that is unknown."""
        if changes is None:
            self._unsure = None
        elif self._unsure is not None and (names := changes.get(self.type_url)):
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
                or self.refused.get(name) == version
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
        found = Pending(tuple(changed), tuple(absent), tuple(removed))
        self._unsure = {*found.contents}
        return found

    def whole(self, pending: Pending, snapshot: Snapshot) -> list[Resource]:
        """All that the client should hold when it has accepted this: the last good of each."""
        contents = {**(self.holdings.good or {}), **pending.contents}
        if self._has_unknown_past:
            # It may hold a good one from another stream, and leaving the name out would remove
            # that. Refusing this one again keeps it.
            for name in self.refused:
                contents.setdefault(name, snapshot.get(self.type_url, name))
        return [it for _, it in sorted(contents.items()) if it and self._wants(it.name)]

    def sent(self, nonce: str, pending: Pending) -> None:
        """Note that a response is under way."""
        self.outstanding = Outstanding(nonce, dict(pending.contents))
        self._due -= pending.contents.keys()
        if self._unsure:
            self._unsure -= pending.contents.keys()
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
        contents = self.outstanding.contents if self.outstanding else {}
        sent = [name for name, resource in contents.items() if resource]
        named = [name for name in sent if mentions(message, name)]
        if named or len(sent) == 1:
            self._commit(refused=set(named or sent))
            return tuple(named or sent)
        again = [name for name in self.refused if name not in contents and mentions(message, name)]
        if self.holdings.good is not None and again:
            self._commit()
            return tuple(again)
        if self._has_unknown_past and not self.holdings.good:
            # One alone would say that the others are no more.
            self._commit(refused=set(sent))
        else:
            self._commit(suspected=set(sent))
        return tuple(sent)

    def isolates(self, snapshot: Snapshot) -> bool:
        """Whether resources must be sent one by one, so that a bad one harms no other."""
        return self.refuses(snapshot) or any(
            snapshot.get(self.type_url, name) for name in self._suspects
        )

    def refuses(self, snapshot: Snapshot) -> bool:
        """Whether the client rejected any of these in the version that they have now."""
        return any(
            (resource := snapshot.get(self.type_url, name)) is not None
            and resource.version == version
            for name, version in self.refused.items()
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
                self.refused[name] = resource.version
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
        known = self.holdings.versions.keys() | self.refused.keys() | self._due | under_way
        return known | (self._unsure or set())

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
