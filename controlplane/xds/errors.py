"""The error that ends a stream, and the limits of what one client may ask for."""

from collections.abc import Iterable
from typing import Final, Literal

Code = Literal[
    "INVALID_ARGUMENT",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
]


class ProtocolError(Exception):
    """The client broke the protocol; its stream must end, and no other.

    Attributes:
        code: Name of the gRPC status code to end the stream with.
        message: One sentence for the client's log.
    """

    def __init__(self, code: Code, message: str) -> None:
        self.code: Code = code
        self.message = message
        super().__init__(f"{code}: {message}")


class MalformedRequestError(ProtocolError):
    """The bytes of a request are not the message that they should be."""

    def __init__(self, problem: str) -> None:
        super().__init__("INVALID_ARGUMENT", f"malformed request: {problem}")


MAX_NAMES: Final = 20_000
"""How many names a client may want, or say that it holds, of one type: more than the clusters of
2,000 pools with eight classes each. All of them are looked at in one go."""

MAX_NAME_LENGTH: Final = 1_024
"""Characters that a resource's name may have."""

MAX_VERSION_LENGTH: Final = 64
"""Characters of a version that a client may claim to hold; ours have 16, and a longer one says as
little as none."""


def limit_names(count: int, names: Iterable[str]) -> None:
    """Check how many names there are now, and the length of the new ones.

    Raises:
        ProtocolError: When there are too many, or one is too long.
    """
    if count > MAX_NAMES:
        raise ProtocolError("RESOURCE_EXHAUSTED", f"more than {MAX_NAMES} resource names")
    if any(len(name) > MAX_NAME_LENGTH for name in names):
        raise ProtocolError(
            "INVALID_ARGUMENT", f"a resource name is longer than {MAX_NAME_LENGTH} characters"
        )
