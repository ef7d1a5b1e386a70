"""What ends a stream: one error, with the gRPC status that the client will see."""

from typing import Literal

Code = Literal["INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"]


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
