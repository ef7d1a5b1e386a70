"""What a client's words say about which resources of a response it refused.

A client rejects a response as a whole, whatever it did with the resources in it.
"""

from collections.abc import Iterable
from typing import Final

from controlplane.resources.resource import CLUSTER, LISTENER

_REPORTS: Final = {
    CLUSTER: ("Error adding/updating cluster(s) ", ", "),
    LISTENER: ("Error adding/updating listener(s) ", " "),
}
"""How Envoy begins when it took the good ones of a response, and what it puts between the bad ones,
each of which is ``name: error`` (``CdsApiImpl`` and ``LdsApiImpl``; a line end, in the latter, is a
space once the message is cleaned). In every other message a name proves nothing: Envoy looked at no
other resource once it found a constraint violated, and a word may just be a pool's name."""

CUT: Final = "...(truncated)"
"""How Envoy ends words that are longer than 4,096 bytes."""


def is_cut(message: str) -> bool:
    """Whether there may have been more in a client's words than it sent."""
    return message.endswith(CUT)


def blamed(type_url: str, message: str, names: Iterable[str]) -> set[str]:
    """Find the bad ones, so that the others count as accepted.

    Args:
        type_url: Of the resources.
        message: The client's words.
        names: Of the resources that were in the response.

    Returns:
        None of them where the message does not tell.
    """
    begins, between = _REPORTS.get(type_url, ("", ""))
    if not begins or not message.startswith(begins):
        return set()
    errors = between + message.removeprefix(begins)
    return {name for name in names if f"{between}{name}: " in errors}
