"""Responses as bytes: the small fields around resources that were encoded once, for everybody."""

from collections.abc import Iterable

from controlplane.resources.encoding import delimited, implicit
from controlplane.resources.resource import Resource


def encode_delta(
    *,
    version: str,
    resources: Iterable[Resource],
    type_url: str,
    nonce: str = "",
    removed: Iterable[str] = (),
) -> bytes:
    """Encode a ``DeltaDiscoveryResponse``; equal to what betterproto2 makes of the same.

    Args:
        version: The ``system_version_info``, which clients show and do not act on.
        resources: New and changed ones.
        type_url: Of all the resources.
        nonce: By which the client will acknowledge it; left out when empty, to be added at the end.
        removed: Names that do not exist (any more).
    """
    parts = [implicit(1, version.encode())]
    parts += [delimited(2, resource.framed) for resource in resources]
    parts.append(implicit(4, type_url.encode()))
    parts += [delimited(6, name.encode()) for name in removed]
    parts.append(implicit(5, nonce.encode()))
    return b"".join(parts)


def encode_sotw(
    *, version: str, resources: Iterable[Resource], type_url: str, nonce: str = ""
) -> bytes:
    """Encode a ``DiscoveryResponse``; equal to what betterproto2 makes of the same.

    Args:
        version: The ``version_info``, which clients repeat in their next requests.
        resources: All of them, or those that have changed: see `controlplane.xds.sotw`.
        type_url: Of all the resources.
        nonce: As in `encode_delta`.
    """
    parts = [implicit(1, version.encode())]
    parts += [delimited(2, resource.packed) for resource in resources]
    parts += [implicit(4, type_url.encode()), implicit(5, nonce.encode())]
    return b"".join(parts)


def with_nonce(body: bytes, nonce: str) -> bytes:
    """A response of either protocol that was encoded without a nonce, with one."""
    return body + delimited(5, nonce.encode())
