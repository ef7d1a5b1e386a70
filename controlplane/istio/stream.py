"""One stream of istiod without I/O: requests in, responses out.

istiod asks for each of its types, all resources of it, in the state of the world. It is not ready
before each was answered. It takes all that it holds of a type for gone that an answer leaves out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from controlplane.istio.resources import DESTINATION_RULE, SERVICE_ENTRY, Configuration
from controlplane.protos import envoy_pb2 as pb
from controlplane.xds.node import ProtocolError
from controlplane.xds.protocol import decode_sotw

GROUP: Final = "networking.istio.io"
"""Of the API of Istio that both kinds belong to; istiod asks for one version of it."""

MAX_TYPES: Final = 256
"""Types that a client may ask for at most; istiod asks for 16."""

_KINDS: Final = frozenset({SERVICE_ENTRY, DESTINATION_RULE})
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]{1,256}", re.ASCII)


@dataclass(slots=True)
class _Type:
    """A type that was asked for.

    Attributes:
        version: That was sent last; None: nothing was.
        nonce: Of the response that is not answered yet; None: all are.
    """

    version: str | None = None
    nonce: str | None = None


class Stream:
    """The server's side of a stream."""

    def __init__(self) -> None:
        self.node: str | None = None
        self._types: dict[str, _Type] = {}
        self._count = 0

    def receive(self, data: bytes) -> str | None:
        """Take a request; returns why the client rejects what it was sent, if it does."""
        request = decode_sotw(data)
        if self.node is None:
            if request.node is None:
                raise ProtocolError("INVALID_ARGUMENT", "the first request must name the node")
            self.node = _checked("node.id", request.node.id)
        _checked("type_url", request.type_url)
        # istiod puts a nonce of its own making into its first requests.
        if (known := self._types.get(request.type_url)) is None:
            if len(self._types) >= MAX_TYPES:
                raise ProtocolError("RESOURCE_EXHAUSTED", f"more than {MAX_TYPES} types")
            self._types[request.type_url] = _Type()
        elif request.nonce == known.nonce:
            known.nonce = None
            if request.error is not None:
                return f"{request.type_url}: {request.error.message}"
        return None

    def responses(self, configuration: Configuration | None) -> Iterator[bytes]:
        """Decide what to send now; each response counts as sent when it is yielded.

        Args:
            configuration: What the client should hold; None: that is not known yet. What it holds
                from before must not be taken away by an empty answer.
        """
        for url, held in self._types.items():
            group, _, kind = url.partition("/")
            kind = kind.rpartition("/")[2] if group == GROUP else ""
            if held.nonce is not None or (configuration is None and kind in _KINDS):
                continue
            resources = configuration.of(kind) if configuration is not None else []
            versions = "\n".join(each.version for each in resources)
            version = blake2b(versions.encode(), digest_size=8).hexdigest()
            if version == held.version:
                continue
            self._count += 1
            held.version, held.nonce = version, str(self._count)
            yield pb.DiscoveryResponse(
                version_info=version,
                resources=[each.packed for each in resources],
                type_url=url,
                nonce=held.nonce,
            ).SerializeToString()


def _checked(field: str, text: str) -> str:
    """Check what goes to the log."""
    if not _PRINTABLE.fullmatch(text):
        raise ProtocolError(
            "INVALID_ARGUMENT", f"{field} must have 1 to 256 printable ASCII characters"
        )
    return text
