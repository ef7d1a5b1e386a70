"""What an endpoint is: the one table that routes, checks roles and is described as OpenAPI."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from aiohttp import web
from pydantic import BaseModel

from controlplane.api.auth import require
from controlplane.api.errors import Problem
from controlplane.api.etags import IF_MATCH, IF_NONE_MATCH
from controlplane.api.query import Query, query_of
from controlplane.settings import Role

Endpoint: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

LAST_EVENT_ID: Final = "Last-Event-ID"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        id: A name that is its own, for clients that are generated.
        method: Of HTTP.
        path: With ``{pool}`` and ``{replica}``.
        role: Who may; None: anybody.
        summary: One line; the rest is the docstring of `handle`.
        handle: Answers.
        answers: What is answered by status; None: nothing, or another media type.
        query: The parameters.
        body: What is sent.
        example: Of the body.
        headers: Of the request, that matter here.
        problems: The errors that may come beside those of all operations.
        media: Of the answer.
        previews: What ``?dry_run=true`` is answered with; None where there is no such thing.
    """

    id: str
    method: str
    path: str
    role: Role | None
    summary: str
    handle: Endpoint
    answers: dict[HTTPStatus, type[BaseModel] | None]
    query: type[Query] = Query
    body: type[BaseModel] | None = None
    example: Mapping[str, Any] | None = None
    headers: tuple[str, ...] = ()
    problems: tuple[HTTPStatus, ...] = ()
    media: str = "application/json"
    previews: type[BaseModel] | None = None

    @property
    def route(self) -> web.RouteDef:
        """For the router of aiohttp; a GET is a HEAD as well."""

        async def checked(request: web.Request) -> web.StreamResponse:
            if self.role is not None:
                require(request, self.role)
            query_of(request, self.query)
            if self.method != "GET":
                self._refuse_conditions(request)
            return await self.handle(request)

        # Of an event stream there would be no end to leave out.
        if self.method == "GET" and self.media != "text/event-stream":
            return web.get(self.path, checked)
        if self.method == "GET":
            return web.get(self.path, checked, allow_head=False)
        return web.route(self.method, self.path, checked)

    def _refuse_conditions(self, request: web.Request) -> None:
        """A condition that is ignored has somebody change what they have not seen."""
        for header in (IF_MATCH, IF_NONE_MATCH):
            if header in request.headers and header not in self.headers:
                raise Problem(
                    HTTPStatus.BAD_REQUEST,
                    f"{header} is not taken here; leave it out, or change one thing at a time"
                    " where it is",
                    parameter=header,
                )
