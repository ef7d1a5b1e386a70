"""Refuse a change of something that has changed: ETag, If-Match and If-None-Match (RFC 9110).

An ETag stands for what is declared: settings, source, draining and generation. It does not cover
readings and weights, which change every second.
"""

import json
import re
from dataclasses import dataclass
from hashlib import blake2b
from http import HTTPStatus
from typing import Final, Self

from aiohttp import web

from controlplane.api.errors import Problem, Stale
from controlplane.api.schema.operations import IF_MATCH, IF_NONE_MATCH
from controlplane.fleet import Fleet, Pool, Replica, declared

_LIST: Final = re.compile(r'(W/)?"[\x21\x23-\x7e]*"(\s*,\s*(W/)?"[\x21\x23-\x7e]*")*', re.ASCII)


def etag(what: Pool | Replica) -> str:
    """Return the ETag, in quotes."""
    text = json.dumps(declared(what), sort_keys=True)
    return f'"{blake2b(text.encode(), digest_size=8).hexdigest()}"'


@dataclass(frozen=True, slots=True)
class Preconditions:
    """The preconditions of a change.

    Attributes:
        pool: The pool's name.
        replica: The replica's id; None for a change of the pool.
        wanted: The ETag must be one of these; ``*``: the pool or replica must exist.
        unwanted: The ETag must be none of these; ``*``: the pool or replica must not exist.
    """

    pool: str
    replica: str | None
    wanted: tuple[str, ...] | None
    unwanted: tuple[str, ...] | None

    @classmethod
    def of(cls, request: web.Request, pool: str, replica: str | None = None) -> Self:
        """Read the preconditions of a request.

        Raises:
            Problem: A header is not as RFC 9110 says.
        """
        return cls(pool, replica, _tags(request, IF_MATCH), _tags(request, IF_NONE_MATCH))

    def check(self, fleet: Fleet) -> None:
        """Compare with the fleet that is about to change.

        Raises:
            Stale: A precondition does not hold.
        """
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
