"""Answers as JSON with their ETags, preconditions of changes (RFC 9110), and errors (RFC 9457).

Every error is a problem document: a status, one sentence, and the place.

A long answer is encoded in pieces, so that other requests have their turn. An ETag stands for what
is declared: settings, source, draining and generation, not readings and weights.
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from http import HTTPStatus
from types import GeneratorType
from typing import Any, Final, Self, TypeAlias

from aiohttp import web

from controlplane.api.schema.operations import IF_MATCH, IF_NONE_MATCH
from controlplane.config import SettingsError
from controlplane.fleet import Fleet, Pool, Refused, Replica, declared
from controlplane.turns import Turns

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
        return problem_response(problem)
    except Stale as stale:
        return problem_response(
            Problem(
                HTTPStatus.PRECONDITION_FAILED,
                str(stale),
                parameter=stale.header,
                headers={} if stale.etag is None else {"ETag": stale.etag},
            )
        )
    except Refused as refused:
        where = pointer(refused.path) if refused.path else None
        return problem_response(Problem(_STATUS[refused.kind], str(refused), pointer=where))
    except SettingsError as error:
        return problem_response(
            Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), pointer=pointer(error.path))
        )
    except web.HTTPException as error:
        return problem_response(problem_of(error))
    except Exception:  # noqa: BLE001 - the last frame of a request; it is logged
        # A client learns nothing about a fault of the server, and cannot end the server by one.
        _log.exception(
            "a fault of the control plane while answering %s %r", request.method, request.path
        )
        return problem_response(FAULT)


FAULT: Final = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of the control plane; see its log"
)


def problem_of(error: web.HTTPException) -> Problem:
    """Return the problem that an error of the framework stands for."""
    status = HTTPStatus(error.status)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"this path takes {allowed}, not {_cut(error.method, 20)}"
        return Problem(status, detail, headers={"Allow": allowed})
    if isinstance(error, web.HTTPNotFound):
        return Problem(status, "nothing is served at this path")
    if isinstance(error, web.HTTPExpectationFailed):
        return Problem(status, "Expect may be 100-continue, or left out", parameter="Expect")
    return Problem(status, status.description or status.phrase)


def pointer(path: tuple[str | int, ...]) -> str:
    """Write a path as a JSON pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def problem_response(problem: Problem) -> web.Response:
    """Write a problem as its document."""
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
        headers={"Cache-Control": "no-store", **problem.headers},
    )


def _on_one_line(text: str) -> str:
    """Escape what could break a sentence or steer a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


_LIST: Final = re.compile(r'(W/)?"[\x21\x23-\x7e]*"(\s*,\s*(W/)?"[\x21\x23-\x7e]*")*', re.ASCII)


def etag(what: Pool | Replica) -> str:
    """The ETag, in quotes."""
    text = json.dumps(declared(what), sort_keys=True)
    return f'"{blake2b(text.encode(), digest_size=8).hexdigest()}"'


@dataclass(frozen=True, slots=True)
class Preconditions:
    """The preconditions of a change.

    Attributes:
        replica: The id; None for a change of the pool.
        wanted: The ETag must be one of these; ``*``: the pool or replica must exist.
        unwanted: The ETag must be none of these; ``*``: the pool or replica must not exist.
    """

    pool: str
    replica: str | None
    wanted: tuple[str, ...] | None
    unwanted: tuple[str, ...] | None

    @classmethod
    def of(cls, request: web.Request, pool: str, replica: str | None = None) -> Self:
        """Read the preconditions of a request; a `Problem` if a header is malformed."""
        return cls(pool, replica, _tags(request, IF_MATCH), _tags(request, IF_NONE_MATCH))

    def check(self, fleet: Fleet) -> None:
        """Raise `Stale` if a precondition does not hold for the fleet that is about to change."""
        if self.wanted is None and self.unwanted is None:
            return
        pool = fleet.pools.get(self.pool)
        present: Pool | Replica | None = pool
        if self.replica is not None:
            present = pool.replicas.get(self.replica) if pool else None
        now = None if present is None else etag(present)
        wanted, unwanted = self.wanted, self.unwanted
        if wanted is not None and (now is None or (wanted != ("*",) and now not in wanted)):
            raise Stale(IF_MATCH, now)
        if unwanted is not None and now is not None and (unwanted == ("*",) or now in unwanted):
            raise Stale(IF_NONE_MATCH, now)


def _tags(request: web.Request, header: str) -> tuple[str, ...] | None:
    """Read the tags of a header; a weak tag matches nothing."""
    if header not in request.headers:
        return None
    text = ",".join(request.headers.getall(header)).strip()
    if text == "*":
        return ("*",)
    if not _LIST.fullmatch(text):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f'{header} must be * or a list of ETags, each in double quotes, as in "abc"',
            parameter=header,
        )
    return tuple(re.findall(r'(?:W/)?"[^"]*"', text))


FEW: Final = 64
"""Items that are encoded together."""

_json: Final = json.JSONEncoder(allow_nan=False).encode


def answer(
    document: dict[str, Any],
    status: HTTPStatus = HTTPStatus.OK,
    about: Pool | Replica | None = None,
) -> web.Response:
    """Answer with a document, and with the ETag of what it is about."""
    return _response(_json(document), status, about)


async def long_answer(
    document: dict[str, Any],
    status: HTTPStatus = HTTPStatus.OK,
    about: Pool | Replica | None = None,
) -> web.Response:
    """Answer with a document that may be long; see `encoded`."""
    return _response(await encoded(document, Turns()), status, about)


async def encoded(value: Any, turns: Turns) -> str:
    """Encode plain data as `json.dumps` does, a generator as a list.

    The items of a generator, each a short document, are made and encoded one by one. Thousands of
    documents that live at the same time keep the garbage collector, and so the event loop, busy.
    """
    items: list[str] = []
    if isinstance(value, GeneratorType):
        for item in value:
            items.append(_json(item))
            await turns.give_way()
        return f"[{', '.join(items)}]"
    if isinstance(value, list) and _is_long(value):
        for item in value:
            items.append(await encoded(item, turns))
            await turns.give_way()
        return f"[{', '.join(items)}]"
    if isinstance(value, dict) and _is_long(value):
        items += [f"{_json(key)}: {await encoded(item, turns)}" for key, item in value.items()]
        return f"{{{', '.join(items)}}}"
    return _json(value)


def _is_long(value: Any) -> bool:
    """Whether there is a long list in a value, at a depth where answers have any."""
    if isinstance(value, dict):
        return any(
            isinstance(item, (dict, list, GeneratorType)) and _is_long(item)
            for item in value.values()
        )
    if isinstance(value, list):
        return len(value) > FEW or any(isinstance(item, dict) and _is_long(item) for item in value)
    return isinstance(value, GeneratorType)


def _response(text: str, status: HTTPStatus, about: Pool | Replica | None) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    if about is not None:
        headers["ETag"] = etag(about)
    return web.Response(
        status=status, text=f"{text}\n", content_type="application/json", headers=headers
    )
