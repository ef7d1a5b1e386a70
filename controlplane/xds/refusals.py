"""Which resources of one type a client refused, and what that means for those beside them.

A client rejects a response as a whole. Here it is decided which of the resources in it count as
refused, which are tried once more, and whether a client may hold more than it acknowledged.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from controlplane.resources.resource import Resource
from controlplane.resources.snapshot import Snapshot
from controlplane.xds.rejections import blamed, is_cut
from controlplane.xds.semantics import Semantics


class Verdict(NamedTuple):
    """What follows from a rejection.

    Attributes:
        names: Of the resources that it may be about, in order.
        doubted: Of those in the response: the client may hold them, or those before them. All
            others that were in it are accepted.
        suspected: Of these: they are to be sent once more, each alone.
        taken: What was refused before and was in the response too: the client has it now.
    """

    names: tuple[str, ...]
    doubted: Set[str]
    suspected: Set[str]
    taken: Mapping[str, Resource]


@dataclass(slots=True)
class Refusals:
    """What a client refused and has not accepted since.

    Attributes:
        type_url: The type.
        semantics: Of responses of this type.
        resources: What it refused last, by name.
        suspects: Rejected together; each is tried once more, alone.
        past_is_unknown: Whether the client may hold something that no acknowledgement tells of:
            what it took of a response that it rejected, here or on another stream. It does so until
            it accepts a response that has all that it is to hold.
    """

    type_url: str
    semantics: Semantics
    resources: dict[str, Resource] = field(default_factory=dict)
    suspects: set[str] = field(default_factory=set)
    past_is_unknown: bool = False

    @property
    def is_clear(self) -> bool:
        """Whether nothing stands refused, and nothing is held that is not known."""
        return not self.resources and not self.suspects and not self.past_is_unknown

    @property
    def repeated(self) -> Mapping[str, Resource]:
        """What has to be in every response although it was refused.

        The client may hold these or, from another stream, good ones before them; leaving the names
        out would remove both. Refusing them again keeps what it holds.
        """
        return self.resources if self.past_is_unknown else {}

    @property
    def _may_have_taken_some(self) -> bool:
        return self.semantics.repeats and not self.semantics.names_what_it_took_apart

    def copy(self) -> "Refusals":
        """The same refusals, to be changed apart."""
        return Refusals(
            self.type_url,
            self.semantics,
            self.resources.copy(),
            self.suspects.copy(),
            self.past_is_unknown,
        )

    def reject(self, message: str, sent: Mapping[str, Resource]) -> Verdict:
        """The client rejected a response.

        Where its words do not tell what is bad, each resource is sent once more, alone, or one bad
        assignment would keep the good ones out until they change.

        Args:
            message: Its words.
            sent: What was news in the response, by name. Removals are never rejected.
        """
        named = blamed(self.type_url, message, sent.keys() | self.repeated.keys())
        names_all = bool(named) and not is_cut(message)
        rejected_together = not names_all and len(sent) > 1
        if rejected_together and self._may_have_taken_some:
            # One alone would say that the others are no more, and it may have taken some of them:
            # they all stay in each response until one is accepted.
            self.past_is_unknown = True
        doubted = sent.keys() & named if names_all else {*sent}
        tries_again = rejected_together and not self.past_is_unknown
        # Whoever names the bad ones took all others, those that were no news included.
        repeated = self.repeated if names_all else {}
        taken = {n: it for n, it in repeated.items() if n not in named and n not in sent}
        for name in (*sent, *taken):
            self.forget(name)
        suspected = doubted - named if tries_again else frozenset()
        self.suspects |= suspected
        self.resources.update((name, sent[name]) for name in doubted - suspected)
        names = tuple(sorted(named or doubted))
        return Verdict(names, doubted, suspected, taken)

    def accept(self) -> Mapping[str, Resource]:
        """The client accepted a response.

        Returns:
            What it had refused before and was in this one too.
        """
        accepted = self.repeated
        if self.past_is_unknown:
            self.resources, self.past_is_unknown = {}, False
        return accepted

    def forget(self, name: str) -> None:
        """The client accepted this one, or does not want it any more."""
        self.resources.pop(name, None)
        self.suspects.discard(name)

    def include(self, name: str, version: str) -> bool:
        """Whether the client refused a resource in just this version."""
        refused = self.resources.get(name)
        return refused is not None and refused.version == version

    def concern(self, snapshot: Snapshot) -> bool:
        """Whether the client refused any of these in the version that they have now."""
        there = (snapshot.get(self.type_url, name) for name in self.resources)
        return any(it is not None and self.include(it.name, it.version) for it in there)

    def isolate(self, snapshot: Snapshot) -> bool:
        """Whether resources must be sent one by one, so that a bad one harms no other."""
        return self.concern(snapshot) or any(
            snapshot.get(self.type_url, name) for name in self.suspects
        )
