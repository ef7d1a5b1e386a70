"""Issue while the control plane runs: sign for nodes, refuse the revoked.

Leaves and their keys are kept in memory only. A node that connects again gets the one it had.
"""

import logging
import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cryptography import x509

from controlplane.ca.certificates import (
    Authority,
    CaError,
    Issued,
    key_pem,
    new_key,
    node_uri,
    pool_uri,
    public_key_of,
    shown_leaf,
)
from controlplane.ca.folder import CaFolder, Content
from controlplane.identity import Identity, longest_match
from controlplane.resources.resource import Resource, Snapshot
from controlplane.resources.secret_sources import NO_SECRETS, Secrets, identity_secret, roots_secret

_log = logging.getLogger(__name__)

SOON: Final = 90 * 86_400.0
"""Seconds before the end of the intermediate from which the log says so."""


@dataclass(frozen=True, slots=True)
class _Leaf:
    secret: Resource
    authority: Authority
    renewed_at: float
    # Both in one object, so in one response: a leaf whose root comes later is refused.
    with_roots: Secrets


class Leaves:
    """Issues leaves and keeps them until half of their time is over."""

    def __init__(self, content: Content, seconds: float, random: Callable[[], float]) -> None:
        """Begin without any leaf; `random` spreads when leaves are replaced."""
        self.content = content
        self._roots = roots_secret(content.roots)
        self._seconds = seconds
        self._random = random
        self._leaves: dict[tuple[str, ...], _Leaf] = {}

    def adopt(self, content: Content) -> None:
        """Issue with something else from now on; what is not signed by it is replaced."""
        if content.roots != self.content.roots:
            self._roots = roots_secret(content.roots)
            self._leaves = {
                uris: replace(leaf, with_roots=Secrets(leaf.secret, self._roots))
                for uris, leaf in self._leaves.items()
            }
        self.content = content

    def secrets_of(self, uris: tuple[str, ...], now: float) -> Secrets:
        """Return what the owner of the URIs holds: equal until there is something new for it."""
        leaf = self._leaves.get(uris)
        # Otherwise what would be issued had ended before it began.
        can_issue = now < self.content.authority.expires
        if leaf is None and not can_issue:
            return NO_SECRETS
        if leaf is None or (can_issue and not self._is_good(leaf, now)):
            self._leaves[uris] = leaf = self._issue(uris, now)
        return leaf.with_roots

    def keep(self, connected: Iterable[tuple[str, ...]], now: float) -> None:
        """Forget the leaves of clients that are not connected, once they would be replaced."""
        staying = {*connected}
        for uris in [known for known, leaf in self._leaves.items() if known not in staying]:
            if not self._is_good(self._leaves[uris], now):
                del self._leaves[uris]

    def _is_good(self, leaf: _Leaf, now: float) -> bool:
        return now < leaf.renewed_at and leaf.authority == self.content.authority

    def _issue(self, uris: tuple[str, ...], now: float) -> _Leaf:
        key = new_key()
        issued = self.content.authority.issue(
            key.public_key(), uris, now=now, seconds=self._seconds
        )
        # Half of its time or a little before: there is as much again to find what hinders it.
        share = 0.5 - 0.1 * self._random()
        renewed_at = now + share * (issued.expires - now)
        secret = identity_secret(issued.chain, key_pem(key))
        with_roots = Secrets(secret, self._roots)
        return _Leaf(secret, self.content.authority, renewed_at, with_roots)


@dataclass(frozen=True, slots=True)
class JoinResult:
    """What a node that joins gets: its chain and the roots to trust, in PEM, and when it ends."""

    certificate: str
    roots: str
    expires: float


class Issuer:
    """Issues for nodes that have proven who they are."""

    def __init__(
        self,
        folder: CaFolder,
        trust_domain: str,
        seconds: float,
        ingresses: Mapping[str, Collection[str]],
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
    ) -> None:
        """Read the folder.

        Args:
            seconds: How long leaves are valid.
            ingresses: The pools whose replicas a node stands beside, by its id or by how it begins,
                with a ``*`` at the end.
            clock: Seconds since 1970.
            random: A number from 0 to 1, so that not all leaves are replaced at the same time.
        """
        self._folder = folder
        self._trust_domain = trust_domain
        self._seconds = seconds
        self._ingresses = ingresses
        self._clock = clock
        self._has_warned = False
        self._leaves = Leaves(self.read(), seconds, random)

    @property
    def content(self) -> Content:
        return self._leaves.content

    @property
    def files(self) -> tuple[Path, ...]:
        """What `read` reads."""
        return self._folder.files

    def read(self) -> Content:
        """Read what is in the folder now; raises as when it was read first."""
        content = self._folder.load(self._clock())
        if content.authority.trust_domain != self._trust_domain:
            raise CaError(
                f"{self._folder.path} signs for {content.authority.trust_domain}, and"
                f" identity.trust_domain is {self._trust_domain}"
            )
        return content

    def adopt(self, content: Content) -> None:
        """Issue with something else from now on, and refuse what it revokes."""
        self._leaves.adopt(content)

    def secrets_of(self, identity: Identity) -> Snapshot:
        """The leaf of a client and the roots that it trusts; the same until one of them changes."""
        return self._leaves.secrets_of(self._uris(identity), self._clock())

    def keep(self, connected: Iterable[Identity]) -> None:
        """Forget the leaves of those who are not connected any more, in time.

        The log says once if the intermediate ends soon.
        """
        authority = self.content.authority
        if authority.expires - self._clock() < SOON and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "%s: the intermediate certificate ends on %s; `plimsoll ca rotate` replaces it",
                self._folder.path,
                authority.certificate.not_valid_after_utc.date(),
            )
        self._leaves.keep(map(self._uris, connected), self._clock())

    def is_revoked(self, name: str, serial: int) -> bool:
        """Whether a certificate is revoked, or the node whose SPIFFE id is its name."""
        node = name.removeprefix(node_uri(self._trust_domain, ""))
        return self.content.revoked.include(node, serial)

    def join(
        self, node: str, request: str, token: str | None, certificate: str | None
    ) -> JoinResult:
        """Issue the certificate by which a node connects, or raise a `CaError` that says why not.

        It shows a join token, which is used up, or its certificate until now, of the key of the
        request.
        """
        try:
            issued, how = self._issue(node, request, token, certificate)
        except CaError as error:
            _log.warning("node %s may not join: %s", node, error)
            raise
        _log.info("node %s joined %s and has certificate %x", node, how, issued.serial)
        return JoinResult(issued.chain.decode(), self.content.roots.decode(), issued.expires)

    def _issue(
        self, node: str, request: str, token: str | None, certificate: str | None
    ) -> tuple[Issued, str]:
        now, content = self._clock(), self.content
        uri = node_uri(self._trust_domain, node)
        try:
            key = public_key_of(request)
        except CaError as error:
            raise CaError(f"csr {error}") from None
        if content.revoked.include(node):
            raise CaError(f"node {node!r} is revoked")
        if certificate is not None:
            try:
                leaf = shown_leaf(certificate, content.roots, now)
            except CaError as error:
                raise CaError(f"certificate {error}") from None
            # Who signs with the key of a certificate has it. To repeat the request of another is of
            # no use: what comes back is of that key again.
            if leaf.public_key() != key or _uris_of(leaf) != [uri]:
                raise CaError(f"certificate is not of node {node!r} and of the key in csr")
            if content.revoked.include(node, leaf.serial_number):
                raise CaError("certificate is revoked")
        else:
            # At last, so that a token is not used up by what is refused.
            self._folder.redeem(token or "", node, now)
        issued = content.authority.issue(key, [uri], now=now, seconds=self._seconds)
        return issued, "with a join token" if certificate is None else "again"

    def _uris(self, identity: Identity) -> tuple[str, ...]:
        pattern = longest_match(self._ingresses, identity.node)
        pools = sorted(self._ingresses[pattern]) if pattern is not None else ()
        return identity.spiffe_id, *(pool_uri(self._trust_domain, pool) for pool in pools)


def _uris_of(leaf: x509.Certificate) -> list[str]:
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)
