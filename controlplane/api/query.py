"""What may stand after the question mark: each endpoint's parameters as a model, read strictly.

A parameter that is misspelt and ignored does something else than was asked (`?dryrun=true`), so
unknown ones are refused.
"""

import difflib
import re
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeVar, get_origin

from aiohttp import web
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from controlplane.api.errors import Problem
from controlplane.fleet import Pool, Replica
from controlplane.settings import parse_duration, shown
from controlplane.settings.values import Name

QueryT = TypeVar("QueryT", bound="Query")

MAX_PAGE: Final = 10_000

_LABEL: Final = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}(=[A-Za-z0-9._/:@+-]{0,128})?$"


def _integer(text: object) -> object:
    if not isinstance(text, str):
        return text
    if not re.fullmatch(r"[1-9]\d{0,8}", text, re.ASCII):
        raise ValueError(f"{shown(text)} is not a whole number from 1 on")
    return int(text)


def _boolean(text: object) -> object:
    if not isinstance(text, str):
        return text
    if text not in ("true", "false"):
        raise ValueError(f"{shown(text)} is neither true nor false")
    return text == "true"


def _duration(text: object) -> object:
    return parse_duration(text) if isinstance(text, str) else text


_DURATION: Final = WithJsonSchema(
    {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h)$", "examples": ["5m"]}
)


class Query(BaseModel):
    """No parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Change(Query):
    """Of everything that changes something."""

    dry_run: Annotated[bool, BeforeValidator(_boolean)] = False
    """Change nothing: answer with what Envoys would get, and how it differs from what they hold."""


class Removal(Change):
    """Of what removes a replica."""

    force: Annotated[bool, BeforeValidator(_boolean)] = False
    """Remove it however many went before."""


class Batch(Change):
    """Of what puts many replicas."""

    force: Annotated[bool, BeforeValidator(_boolean)] = False
    """Put them even if most of the pool moves to other addresses."""


class Page(Query):
    """Of lists. Names are in alphabetical order, so that a page means the same after a change."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE), BeforeValidator(_integer)] | None = None
    """How many at most; all of them by default."""

    after: Name | None = None
    """The last name of the page before, which is its `next`."""


class PoolPage(Page):
    """Of the list of pools."""


class ReplicaPage(Page):
    """Of the list of replicas."""

    label: tuple[Annotated[str, Field(pattern=_LABEL)], ...] = Field(default=(), max_length=32)
    """Only replicas with this label: `rack=7`, or `rack` with any value. Repeat it for more."""

    def shows(self, replica: Replica) -> bool:
        """Whether a replica has all of the labels."""
        labels = replica.settings.labels
        for wanted in self.label:
            key, equals, value = wanted.partition("=")
            if key not in labels or (equals and labels[key] != value):
                return False
        return True


class Since(Query):
    """Of what is kept for a while."""

    since: Annotated[float, BeforeValidator(_duration), _DURATION] = 3600.0
    """How far back, as in `5m`; everything that is kept by default."""


class AuditPage(Query):
    """Of the audit log."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE), BeforeValidator(_integer)] = 100
    """How many at most, the newest."""

    before: Annotated[int, Field(ge=1), BeforeValidator(_integer)] | None = None
    """Only entries with a smaller number: the page before this one has it as `next`."""


def query_of(request: web.Request, model: type[QueryT]) -> QueryT:
    """The parameters of a request.

    Raises:
        Problem: One is unknown, wrong, or there twice.
    """
    data: dict[str, Any] = {}
    for key in request.query:
        values = request.query.getall(key)
        if key not in model.model_fields:
            raise _unknown(key, model)
        if get_origin(model.model_fields[key].annotation) is tuple:
            data[key] = values
        elif len(values) > 1:
            raise _problem(key, "stands twice in the query; keep one of them")
        else:
            data[key] = values[0]
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        match first["type"]:
            case "value_error":
                what = str(first["ctx"]["error"])
            case "string_pattern_mismatch":
                what = f"{shown(first['input'])} must match {first['ctx']['pattern']}"
            case _:
                what = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
        raise _problem(key, what) from None


def page_of(names: list[str], page: Page) -> tuple[list[str], str | None]:
    """One page of a sorted list, and the name to ask for the next one with; None on the last."""
    if page.after is not None:
        names = [name for name in names if name > page.after]
    if page.limit is None or len(names) <= page.limit:
        return names, None
    kept = names[: page.limit]
    return kept, kept[-1]


def matching(pool: Pool, page: ReplicaPage) -> list[str]:
    """The sorted ids of the replicas that have the labels."""
    return sorted(id_ for id_, replica in pool.replicas.items() if page.shows(replica))


def _unknown(key: str, model: type[Query]) -> Problem:
    known = list(model.model_fields)
    near = difflib.get_close_matches(key[:60], known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known) or 'none'}"
    return _problem(key, f"unknown parameter; {hint}")


def _problem(key: str, what: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, f"query parameter {shown(key)}: {what}", parameter=key)
