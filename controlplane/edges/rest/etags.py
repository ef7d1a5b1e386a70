"""Who changes what they have not seen is told so: ETag, If-Match and If-None-Match (RFC 9110).

An ETag here stands for what was declared: settings, source, draining and generation. Readings and
weights are other ones every second, and nobody who changes a setting depends on them.
"""

import json
import re
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from controlplane.edges.rest.problems import Problem
from controlplane.fleet import Pool, Replica

_LIST: Final = re.compile(r'(W/)?"[\x21\x23-\x7e]*"(\s*,\s*(W/)?"[\x21\x23-\x7e]*")*', re.ASCII)


def declared(what: Pool | Replica) -> dict[str, Any]:
    """What somebody has said of a pool or a replica, as plain data."""
    settings = what.settings.model_dump(mode="json")
    if isinstance(what, Pool):
        return {**settings, "source": what.source.value}
    return {
        **settings,
        "source": what.source.value,
        "draining": what.draining.value if what.draining else None,
        "generation": what.generation,
    }


def etag(what: Pool | Replica) -> str:
    """The ETag, in quotes."""
    text = json.dumps(declared(what), sort_keys=True)
    return f'"{blake2b(text.encode(), digest_size=8).hexdigest()}"'


def check_preconditions(request: web.Request, present: Pool | Replica | None) -> None:
    """Refuse a change of something that is not as the client believes.

    Args:
        request: With ``If-Match``: it must be one of these, or be there at all (``*``); with
            ``If-None-Match``: it must be none of these, or not be there (``*``).
        present: What is to be changed; None where there is nothing yet.

    Raises:
        Problem: 412, or 400 where the header is not as RFC 9110 says.
    """
    now = None if present is None else etag(present)
    wanted, unwanted = _tags(request, "If-Match"), _tags(request, "If-None-Match")
    if wanted is not None and (now is None or (wanted != ["*"] and now not in wanted)):
        raise _failed("If-Match", now)
    if unwanted is not None and now is not None and (unwanted == ["*"] or now in unwanted):
        raise _failed("If-None-Match", now)


def _failed(header: str, now: str | None) -> Problem:
    there = "there is nothing yet" if now is None else f"it is {now} now; read it again"
    headers = {} if now is None else {"ETag": now}
    return Problem(
        HTTPStatus.PRECONDITION_FAILED,
        f"not changed, because {header} says otherwise: {there}",
        parameter=header,
        headers=headers,
    )


def _tags(request: web.Request, header: str) -> list[str] | None:
    """The tags of a header; weak ones are kept as they are, and so match nothing."""
    if header not in request.headers:
        return None
    text = ",".join(request.headers.getall(header)).strip()
    if text == "*":
        return ["*"]
    if not _LIST.fullmatch(text):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f'{header} must be * or a list of ETags, each in double quotes, as in "abc"',
            parameter=header,
        )
    return [tag.strip() for tag in re.findall(r'(?:W/)?"[^"]*"', text)]
