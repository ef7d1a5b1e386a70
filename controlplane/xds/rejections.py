"""What a client's words say about which resources of a response it refused.

A client rejects a response as a whole, whatever it did with the resources in it.
"""

import re
from collections.abc import Iterable
from typing import Final

from controlplane.resources.resource import CLUSTER, LISTENER

NAMED_TYPES: Final = (CLUSTER, LISTENER)
"""Of these Envoy takes the good ones from a response and names the bad ones (``CdsApiHelper`` and
``LdsApiImpl`` catch each one's error). Of others it takes what comes before the first bad one, and
a name in its message may be that of something else, such as the cluster of a route."""


def blamed(type_url: str, message: str, names: Iterable[str]) -> set[str]:
    """Find the bad ones, so that the others count as accepted.

    Args:
        type_url: Of the resources.
        message: The client's words.
        names: Of the resources that were in the response.

    Returns:
        None of them where the message does not tell.
    """
    if type_url not in NAMED_TYPES:
        return set()
    return {name for name in names if _mentions(message, name)}


def _mentions(message: str, name: str) -> bool:
    """Whether a text has a resource's name in it, and not only as a part of a longer one."""
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", message) is not None
