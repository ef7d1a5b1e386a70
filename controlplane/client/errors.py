"""What may go wrong between a client and the control plane, each as an exception of its own."""

from collections.abc import Mapping
from typing import Any, Final


class ClientError(Exception):
    """Base of all; the message is one sentence."""


class UnreachableError(ClientError):
    """Nobody answers, or no longer. Whether a change was made is not known."""


class NotListeningError(UnreachableError):
    """There is nobody at all at the address; nothing was sent."""


class TimedOutError(UnreachableError):
    """No whole answer came within the client's timeout."""


class UnsendableError(ClientError):
    """A name or a value that no request can carry; nothing was sent."""


class UnexpectedAnswerError(ClientError):
    """What answers is no control plane, or one that this client cannot read."""


class ProblemError(ClientError):
    """The control plane refuses, and nothing has changed: a problem document (RFC 9457).

    Attributes:
        status: Of HTTP.
        title: The status in words.
        detail: One sentence: what is wrong and what would be right; also the exception's message.
        pointer: JSON pointer to the part of the body that is wrong; None where it is about no part.
        parameter: The parameter of the query, or the header, that is wrong; None where it is none.
        etag: Of what there is, when it is not as `if_match` or `create` say; None otherwise.
        retry_after: Seconds after which to try again; None where the control plane does not say.
    """

    def __init__(
        self, status: int, document: Mapping[str, Any], headers: Mapping[str, str]
    ) -> None:
        """Read the answer.

        Args:
            status: Of HTTP.
            document: The body.
            headers: Of the answer.
        """
        self.status = status
        self.title = str(document.get("title", ""))
        self.detail = str(document.get("detail", f"HTTP {status}"))
        self.pointer: str | None = _text(document.get("pointer"))
        self.parameter: str | None = _text(document.get("parameter"))
        self.etag = headers.get("ETag")
        after = headers.get("Retry-After", "")
        self.retry_after = float(after) if after.isascii() and after.isdigit() else None
        super().__init__(self.detail)


class BadRequestError(ProblemError):
    """400: the path, the query, a header or the JSON cannot be read."""


class UnauthorizedError(ProblemError):
    """401: a token is needed, or this one is not known."""


class ForbiddenError(ProblemError):
    """403: the token's role does not allow it."""


class NotFoundError(ProblemError):
    """404: there is no such pool or replica."""


class ConflictError(ProblemError):
    """409: it would contradict something else, or remove too much at once."""


class PreconditionFailedError(ProblemError):
    """412: somebody has changed it since; `etag` is the present one."""


class InvalidError(ProblemError):
    """422: a setting is wrong; `pointer` says which."""


class UnavailableError(ProblemError):
    """503: not now."""


_BY_STATUS: Final[Mapping[int, type[ProblemError]]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    412: PreconditionFailedError,
    422: InvalidError,
    503: UnavailableError,
}


def problem(status: int, document: Mapping[str, Any], headers: Mapping[str, str]) -> ProblemError:
    """The error for an answer; the most special one that there is."""
    return _BY_STATUS.get(status, ProblemError)(status, document, headers)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
