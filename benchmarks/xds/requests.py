"""What a client of delta xDS writes, and all that it must read of a response to answer it. Pure.

Thousands of clients share the machine with the server that they measure, so nothing is decoded
that need not be.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from controlplane.resources.views import METADATA_KEY

TYPE_URLS: Final = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
"""What an Envoy asks for, in its order."""


def node_id(number: int) -> str:
    """The id of the node of the stream with this number."""
    return f"sidecar-{number}"


def first_requests(
    node: str, type_urls: Sequence[str], pools: Sequence[str], *, shown: Iterable[str] | None
) -> list[bytes]:
    """The requests with which a client begins, one for each type.

    Args:
        node: The id of the node, which the first request names.
        type_urls: In order; Envoy's are `TYPE_URLS`.
        pools: Whose endpoints and routes it asks for by name.
        shown: The only pools that its metadata asks for; None for all.
    """
    requests = [
        pb.DeltaDiscoveryRequest(
            type_url=type_url,
            resource_names_subscribe=pools if type_url in (ENDPOINT, ROUTE) else (),
        )
        for type_url in type_urls
    ]
    described = pb.Node(id=node, cluster="apps", user_agent_name="envoy")
    if shown is not None:
        described.metadata.update({METADATA_KEY: {"pools": [*shown]}})
    requests[0].node.CopyFrom(described)
    return [request.SerializeToString() for request in requests]


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
    read = pb.DeltaDiscoveryResponse.FromString(response)
    accepted = pb.DeltaDiscoveryRequest(type_url=read.type_url, response_nonce=read.nonce)
    return Answer(len(read.resources), accepted.SerializeToString())
