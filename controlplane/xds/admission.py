"""What a request must say before anything else about it counts."""

from typing import Final

from controlplane.resources.places import Place
from controlplane.resources.views import View
from controlplane.xds.errors import ProtocolError
from controlplane.xds.identity import Node
from controlplane.xds.requests import Request

MAX_ID_LENGTH: Final = 256
"""Characters that a node's id, and each other word it says about itself, may have."""


def admit(node: Node | None) -> tuple[Node, View]:
    """Take a stream's first request by the node that it names.

    Raises:
        ProtocolError: When there is no node, or none that can be served or safely shown.
    """
    if node is None or not node.id:
        raise ProtocolError("INVALID_ARGUMENT", "the first request must name its node, with an id")
    place = node.locality
    said = (node.id, node.cluster, node.user_agent, node.version)
    for word in (*said, place.region, place.zone, place.sub_zone):
        # These reach logs and dashboards.
        if len(word) > MAX_ID_LENGTH or not word.isprintable():
            raise ProtocolError(
                "INVALID_ARGUMENT",
                f"what a node says about itself must be printable and at most {MAX_ID_LENGTH}"
                " characters",
            )
    try:
        return node, View.of(node.metadata, Place(place.region, place.zone))
    except ValueError as error:
        raise ProtocolError("INVALID_ARGUMENT", str(error)) from None


def check(request: Request, node: Node, only: str | None) -> str:
    """Check any request of an admitted node.

    Args:
        request: The request.
        node: Who introduced itself on the stream.
        only: The type that the stream is for; None if it is aggregated.

    Returns:
        The URL of the type that it is about.

    Raises:
        ProtocolError: When it names no type or not the stream's, or another node.
    """
    if not request.type_url and only is None:
        raise ProtocolError("INVALID_ARGUMENT", "type_url is required on an aggregated stream")
    if request.type_url and only and request.type_url != only:
        raise ProtocolError("INVALID_ARGUMENT", f"type_url must be {only} or empty here")
    # xDS: only the first request of a stream has to name the node; Envoy can be told to repeat it.
    again = request.node
    if again and (again.id, again.cluster, again.metadata) != (
        node.id,
        node.cluster,
        node.metadata,
    ):
        raise ProtocolError("INVALID_ARGUMENT", "the node changed within a stream")
    return request.type_url or only or ""
