"""The one form that all of the server's errors have: OpenAI's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(eq=False)
class ApiError(Exception):
    """An answer that is an error.

    Attributes:
        status: The HTTP status.
        message: One sentence for a person.
        param: The field of the request that is at fault.
        code: What a program would tell the case by.
        retry_after: Seconds after which trying again makes sense.
    """

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    retry_after: int | None = None

    @property
    def type(self) -> str:
        """OpenAI's class of error, which follows from the status."""
        if self.status == 429:
            return "rate_limit_error"
        # 424 is a failure of what the server depends on, the GPU, not of the request.
        if self.status >= 500 or self.status == 424:
            return "server_error"
        return "invalid_request_error"

    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}
