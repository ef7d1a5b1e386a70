"""The errors of the client."""

from collections.abc import Mapping
from typing import Any, ClassVar


class ClientError(Exception):
    """Base of all; the message is one sentence."""


class UnreachableError(ClientError):
    """Nothing answers, or the connection was lost. Whether a change was made is unknown."""


class NotListeningError(UnreachableError):
    """Nothing listens at the address; nothing was sent."""


class UntrustedError(UnreachableError):
    """No root that the client trusts leads to the server's certificate; nothing was sent."""


class TimedOutError(UnreachableError):
    """No complete answer came within the client's timeout."""


class UnsendableError(ClientError):
    """No request can carry a name or a value; nothing was sent."""


class UnexpectedAnswerError(ClientError):
    """The answer is not one of a control plane, or this client cannot read it."""


class ProblemError(ClientError):
    """The control plane refuses, and nothing has changed: a problem document (RFC 9457).

    Attributes:
        pointer: JSON pointer to the part of the body that is wrong; None without one.
        parameter: The query parameter, or the header, that is wrong; None without one.
        etag: The present ETag, when `if_match` or `create` does not hold; None otherwise.
        retry_after: Seconds after which to try again; None where the control plane does not say.
    """

    by_status: ClassVar[dict[int, type["ProblemError"]]] = {}

    def __init_subclass__(cls, *, of_status: int) -> None:
        cls.by_status[of_status] = cls

    def __init__(
        self, status: int, document: Mapping[str, Any], headers: Mapping[str, str]
    ) -> None:
        self.status = status
        self.title = str(document.get("title", ""))
        self.detail = str(document.get("detail", f"HTTP {status}"))
        self.pointer: str | None = _text(document.get("pointer"))
        self.parameter: str | None = _text(document.get("parameter"))
        self.etag = headers.get("ETag")
        after = headers.get("Retry-After", "")
        self.retry_after = float(after) if after.isascii() and after.isdigit() else None
        super().__init__(self.detail)


class BadRequestError(ProblemError, of_status=400):
    """400: the path, the query, a header or the JSON cannot be read."""


class UnauthorizedError(ProblemError, of_status=401):
    """401: a token is needed, or this token is unknown."""


class ForbiddenError(ProblemError, of_status=403):
    """403: the token's role does not allow it."""


class NotFoundError(ProblemError, of_status=404):
    """404: there is no such pool or replica."""


class ConflictError(ProblemError, of_status=409):
    """409: the change contradicts something else, or removes too much at once."""


class PreconditionFailedError(ProblemError, of_status=412):
    """412: somebody else has changed it since; `etag` is the present ETag."""


class InvalidError(ProblemError, of_status=422):
    """422: a setting is wrong; `pointer` says which."""


class UnavailableError(ProblemError, of_status=503):
    """503: not possible now."""


def problem(status: int, document: Mapping[str, Any], headers: Mapping[str, str]) -> ProblemError:
    """Return the most specific error for an answer."""
    return ProblemError.by_status.get(status, ProblemError)(status, document, headers)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
