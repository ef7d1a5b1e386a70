"""Where the two protocols differ: how a request changes what is wanted, what a response repeats."""

from typing import Protocol, TypeVar

from controlplane.xds.identity import Node
from controlplane.xds.pending import Pending
from controlplane.xds.requests import Request
from controlplane.xds.subscription import Subscription

R = TypeVar("R", bound=Request)


class Dialect(Protocol[R]):
    """One of the two protocols; `R` is what its requests say."""

    def decode(self, data: bytes) -> R:
        """Decode a request.

        Raises:
            MalformedRequestError: When the bytes are none.
        """

    def open(self, type_url: str, request: R, node: Node) -> Subscription:
        """Begin a subscription with the first request for its type.

        Args:
            type_url: The type; a stream of a single type need not name it.
            request: The request.
            node: Who asks.

        Raises:
            ProtocolError: When the client wants too much.
        """

    def change(self, subscription: Subscription, request: R) -> None:
        """Apply what a later request wants.

        Raises:
            ProtocolError: When the client wants too much.
        """

    def plain_answer(self, type_url: str, nonce: str) -> bytes | None:
        """The request that would acknowledge a response and say nothing else.

        Args:
            type_url: Of the response.
            nonce: Of the response.

        Returns:
            None where clients say more in each request.
        """

    def encode(self, subscription: Subscription, pending: Pending) -> tuple[str, bytes]:
        """Encode a response, but for its nonce, which is the last field in both protocols.

        Args:
            subscription: Of its type.
            pending: What is news to the client.

        Returns:
            The version that the client is told, and the encoded response.
        """
