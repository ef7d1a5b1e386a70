"""Write answers as JSON. A long answer is encoded in pieces, so other requests have their turn."""

import json
from http import HTTPStatus
from types import GeneratorType
from typing import Any, Final

from aiohttp import web

from controlplane.api.etags import etag
from controlplane.fleet import Pool, Replica
from controlplane.turns import Turns

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
