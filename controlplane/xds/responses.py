"""Responses as bytes: the small fields around resources that were encoded once, for everybody."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b

from controlplane.resources.encoding import delimited, implicit
from controlplane.resources.resource import Resource


def encode_delta(
    *,
    version: str,
    resources: Iterable[Resource],
    type_url: str,
    nonce: str,
    removed: Iterable[str] = (),
) -> bytes:
    """Encode a `DeltaDiscoveryResponse`; equal to what betterproto2 makes of the same.

    Args:
        version: The ``system_version_info``, which clients show and do not act on.
        resources: New and changed ones.
        type_url: Of all the resources.
        nonce: By which the client will acknowledge it.
        removed: Names that do not exist (any more).
    """
    parts = [implicit(1, version.encode())]
    parts += [delimited(2, resource.framed) for resource in resources]
    parts.append(implicit(4, type_url.encode()))
    parts += [delimited(6, name.encode()) for name in removed]
    parts.append(implicit(5, nonce.encode()))
    return b"".join(parts)


def digest(versions: Mapping[str, str | None]) -> str:
    """A short name for a set of resource versions: equal sets have equal names."""
    said = "\n".join(f"{name}\0{version}" for name, version in sorted(versions.items()) if version)
    return blake2b(said.encode(), digest_size=6).hexdigest()
