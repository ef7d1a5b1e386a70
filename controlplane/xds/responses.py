"""Responses as bytes: the small fields around resources that were encoded once, for everybody."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b

from controlplane.resources.resource import Resource
from controlplane.xds.wire import delimited


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
    parts = [_optional(1, version)]
    parts += [delimited(2, resource.framed) for resource in resources]
    parts.append(_optional(4, type_url))
    parts += [delimited(6, name.encode()) for name in removed]
    parts.append(_optional(5, nonce))
    return b"".join(parts)


def digest(versions: Mapping[str, str | None]) -> str:
    """A short name for a set of resource versions: equal sets have equal names."""
    said = "\n".join(f"{name}\0{version}" for name, version in sorted(versions.items()) if version)
    return blake2b(said.encode(), digest_size=6).hexdigest()


def _optional(number: int, value: str) -> bytes:
    # proto3: a field that has its default value is not encoded.
    return delimited(number, value.encode()) if value else b""
