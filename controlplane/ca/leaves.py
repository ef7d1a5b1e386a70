"""The leaf of each connected node: who has which, and when it is replaced.

Leaves and their keys are kept in memory only. A node that connects again gets the one it had.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from controlplane.ca.certificates import Authority, key_pem, new_key
from controlplane.ca.folder import Content
from controlplane.resources.resource import Resource
from controlplane.resources.secrets import NO_SECRETS, Secrets, identity_secret, roots_secret


@dataclass(frozen=True, slots=True)
class _Leaf:
    secret: Resource
    authority: Authority
    renewed_at: float


class Leaves:
    """Issues leaves and keeps them until half of their time is over."""

    def __init__(self, content: Content, seconds: float, random: Callable[[], float]) -> None:
        """Begin without any leaf.

        Args:
            content: What to issue with.
            seconds: How long a leaf is valid.
            random: A number from 0 to 1, so that not all leaves are replaced at the same time.
        """
        self._content = content
        self._roots = roots_secret(content.roots)
        self._seconds = seconds
        self._random = random
        self._leaves: dict[tuple[str, ...], _Leaf] = {}
        self._secrets: dict[tuple[str, ...], Secrets] = {}

    @property
    def content(self) -> Content:
        """What leaves are issued with."""
        return self._content

    def adopt(self, content: Content) -> None:
        """Issue with something else from now on; what is not signed by it is replaced."""
        if content.roots != self._content.roots:
            self._roots = roots_secret(content.roots)
            self._secrets.clear()
        self._content = content

    def secrets_of(self, uris: tuple[str, ...], now: float) -> Secrets:
        """What a client holds: equal until there is something new for it.

        Args:
            uris: That its leaf names; it has proven that they are its own.
            now: Seconds since 1970.
        """
        leaf = self._leaves.get(uris)
        # Otherwise what would be issued had ended before it began.
        can_issue = now < self._content.authority.expires
        if leaf is None and not can_issue:
            return NO_SECRETS
        if leaf is None or (can_issue and not self._is_good(leaf, now)):
            self._leaves[uris] = leaf = self._issue(uris, now)
            self._secrets.pop(uris, None)
        if uris not in self._secrets:
            # Both in one object, so in one response: a leaf whose root comes later is refused.
            self._secrets[uris] = Secrets(leaf.secret, self._roots)
        return self._secrets[uris]

    def keep(self, connected: Iterable[tuple[str, ...]], now: float) -> None:
        """Forget the leaves of clients that are not connected, once they would be replaced."""
        kept = {*connected}
        for uris in [known for known, leaf in self._leaves.items() if known not in kept]:
            if not self._is_good(self._leaves[uris], now):
                del self._leaves[uris]
                self._secrets.pop(uris, None)

    def _is_good(self, leaf: _Leaf, now: float) -> bool:
        return now < leaf.renewed_at and leaf.authority == self._content.authority

    def _issue(self, uris: tuple[str, ...], now: float) -> _Leaf:
        key = new_key()
        issued = self._content.authority.issue(
            key.public_key(), uris, now=now, seconds=self._seconds
        )
        # Half of its time or a little before: there is as much again to find what hinders it.
        share = 0.5 - 0.1 * self._random()
        renewed_at = now + share * (issued.expires - now)
        secret = identity_secret(issued.chain, key_pem(key))
        return _Leaf(secret, self._content.authority, renewed_at)
