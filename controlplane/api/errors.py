"""Answer every error with a problem document (RFC 9457): a status, one sentence, and the place."""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, TypeAlias

from aiohttp import web

from controlplane.config import SettingsError
from controlplane.fleet import Refused

_log = logging.getLogger(__name__)

_LONGEST: Final = 400
"""Characters of a sentence or a pointer, which may repeat what a client sent."""

_STATUS: Final = {
    "not found": HTTPStatus.NOT_FOUND,
    "conflict": HTTPStatus.CONFLICT,
    "forbidden": HTTPStatus.FORBIDDEN,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""By the kind of refusal."""

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Problem(Exception):  # noqa: N818 - the standard's word
    """A request that is answered with an error.

    Attributes:
        pointer: JSON pointer (RFC 6901) to the part of the body that is wrong.
        parameter: The query parameter, or the header, that is wrong.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        pointer: str | None = None,
        parameter: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status, self.detail, self.pointer = status, detail, pointer
        self.parameter = parameter
        self.headers = headers or {}
        super().__init__(detail)


class Stale(Refused):
    """The precondition in a header does not hold; `etag`: the present one, None: there is none."""

    def __init__(self, header: str, etag: str | None) -> None:
        self.header, self.etag = header, etag
        there = "there is nothing yet" if etag is None else f"it is {etag} now; read it again"
        super().__init__("conflict", f"not changed, because {header} says otherwise: {there}")


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error that a handler raises."""
    try:
        return await handler(request)
    except Problem as problem:
        return _response(problem)
    except Stale as stale:
        return _response(
            Problem(
                HTTPStatus.PRECONDITION_FAILED,
                str(stale),
                parameter=stale.header,
                headers={} if stale.etag is None else {"ETag": stale.etag},
            )
        )
    except Refused as refused:
        where = pointer(refused.path) if refused.path else None
        return _response(Problem(_STATUS[refused.kind], str(refused), pointer=where))
    except SettingsError as error:
        return _response(
            Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), pointer=pointer(error.path))
        )
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return _response(
            Problem(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"this path takes {allowed}, not {_cut(error.method, 20)}",
                headers={"Allow": allowed},
            )
        )
    except web.HTTPNotFound:
        return _response(Problem(HTTPStatus.NOT_FOUND, "nothing is served at this path"))
    except web.HTTPException as error:
        status = HTTPStatus(error.status)
        return _response(Problem(status, status.description or status.phrase))
    except Exception:  # noqa: BLE001 - the last frame of a request; it is logged
        # A client learns nothing about a fault of the server, and cannot end the server by one.
        _log.exception("a fault of ours while answering %s %r", request.method, request.path)
        return _response(
            Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of the control plane; see its log")
        )


def pointer(path: tuple[str | int, ...]) -> str:
    """Write a path as a JSON pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _response(problem: Problem) -> web.Response:
    document: dict[str, object] = {
        "type": "about:blank",
        "title": problem.status.phrase,
        "status": problem.status.value,
        "detail": _cut(_on_one_line(problem.detail), _LONGEST),
    }
    if problem.pointer is not None:
        document["pointer"] = _cut(problem.pointer, _LONGEST)
    if problem.parameter is not None:
        document["parameter"] = _cut(problem.parameter, _LONGEST)
    return web.Response(
        status=problem.status,
        text=json.dumps(document) + "\n",
        content_type="application/problem+json",
        headers=problem.headers,
    )


def _on_one_line(text: str) -> str:
    """Escape what could break a sentence or steer a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
