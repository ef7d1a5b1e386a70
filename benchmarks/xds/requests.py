"""What a client of delta xDS writes, and all that it must read of a response to answer it. Pure.

Thousands of clients share the machine with the server that they measure, so nothing is decoded
that need not be.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from controlplane.resources.encoding import delimited, tag
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from controlplane.resources.views import METADATA_KEY
from controlplane.xds.wire import fields, text

TYPE_URLS: Final = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
"""What an Envoy asks for, in its order."""


def first_requests(
    node_id: str, type_urls: Sequence[str], pools: Sequence[str], *, shown: Iterable[str] | None
) -> list[bytes]:
    """The requests with which a client begins, one for each type.

    Args:
        node_id: Of the node, which the first request names.
        type_urls: In order; Envoy's are `TYPE_URLS`.
        pools: Whose endpoints and routes it asks for by name.
        shown: The only pools that its metadata asks for; None for all.
    """
    names = b"".join(delimited(3, pool.encode()) for pool in pools)
    requests = [
        _type(type_url) + (names if type_url in (ENDPOINT, ROUTE) else b"")
        for type_url in type_urls
    ]
    return [delimited(1, _node(node_id, shown)) + requests[0], *requests[1:]]


def _node(node_id: str, shown: Iterable[str] | None) -> bytes:
    """An ``envoy.config.core.v3.Node``."""
    node = delimited(1, node_id.encode()) + delimited(2, b"apps")
    if shown is not None:
        # Struct, its fields a map of Value: string_value is 3, struct_value 5, list_value 6.
        wanted = b"".join(delimited(1, delimited(3, pool.encode())) for pool in shown)
        pools = _entry("pools", delimited(6, wanted))
        node += delimited(3, _entry(METADATA_KEY, delimited(5, pools)))
    return node + delimited(6, b"envoy")


def _entry(key: str, value: bytes) -> bytes:
    return delimited(1, delimited(1, key.encode()) + delimited(2, value))


@lru_cache
def _type(type_url: str) -> bytes:
    return delimited(2, type_url.encode())


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client makes of a response.

    Attributes:
        resources: How many the response carries.
        acknowledgement: The request that accepts it.
    """

    resources: int
    acknowledgement: bytes


def answer(response: bytes) -> Answer:
    """Accept a ``DeltaDiscoveryResponse`` without a look into its resources."""
    type_url = nonce = ""
    resources = 0
    for key, _, value in fields(memoryview(response)):
        if key == tag(2):
            resources += 1
        elif key == tag(4):
            type_url = text(value)
        elif key == tag(5):
            nonce = text(value)
    return Answer(resources, _type(type_url) + delimited(6, nonce.encode()))
