"""Read requests strictly: names from the path and JSON from the body; a `Problem` otherwise.

Python's reader takes more than JSON (RFC 8259): NaN, duplicate keys, lone surrogates that nothing
can encode, integers that take seconds to parse. Each is an error here.
"""

import asyncio
import difflib
import json
import math
from http import HTTPStatus
from typing import Any, Final, NoReturn, TypeVar, get_origin

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError
from pydantic import BaseModel, TypeAdapter, ValidationError

from controlplane.api.answers import Problem
from controlplane.api.schema.requests import Query
from controlplane.config import PoolSettings, ReplicaSettings, SettingsError, shown, validated
from controlplane.config.values import Name

BodyT = TypeVar("BodyT", bound=BaseModel)
QueryT = TypeVar("QueryT", bound=Query)
SettingsT = TypeVar("SettingsT", PoolSettings, ReplicaSettings)

_NAME: Final = TypeAdapter(Name)


def names_in_path(request: web.Request) -> tuple[str, ...]:
    """Read the pool's name, and the replica's id where the path has one."""
    return tuple(_name(part, text) for part, text in request.match_info.items())


def _name(part: str, text: str) -> str:
    try:
        return _NAME.validate_python(text)
    except ValidationError:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"{shown(text)} cannot name a {part}: take 1 to 63 letters, digits, dots, dashes and"
            " underscores, with a letter or digit first",
        ) from None


def query_of(request: web.Request, model: type[QueryT]) -> QueryT:
    """Read the query parameters; a `Problem` if one is unknown, wrong or repeated."""
    data: dict[str, Any] = {}
    for key in request.query:
        values = request.query.getall(key)
        if key not in model.model_fields:
            known = list(model.model_fields)
            near = difflib.get_close_matches(key[:60], known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
            raise _parameter(key, f"unknown parameter; {hint if known else 'known here: none'}")
        if get_origin(model.model_fields[key].annotation) is tuple:
            data[key] = values
        elif len(values) > 1:
            raise _parameter(key, "stands twice in the query; keep one of them")
        else:
            data[key] = values[0]
    try:
        return validated(model, data)
    except SettingsError as error:
        raise _parameter(str(error.path[0]), error.problem) from None


def _parameter(key: str, what: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, f"query parameter {shown(key)}: {what}", parameter=key)


async def settings_in_body(
    request: web.Request, model: type[SettingsT], name_key: str, name: str, seconds: float
) -> SettingsT:
    """Read the body as settings, within so many seconds.

    The body may repeat the name in the path under `name_key`.

    Raises:
        Problem: The body does not arrive or is not JSON.
        SettingsError: A value is wrong.
    """
    data = await _object_in_body(request, seconds)
    if data.get(name_key, name) != name:
        raise SettingsError(f"must be {name!r}, as in the path, or left out", (name_key,))
    return validated(model, {key: value for key, value in data.items() if key != name_key})


async def body_as(request: web.Request, model: type[BodyT], seconds: float) -> BodyT:
    """Read the body as a model; see `settings_in_body`."""
    return validated(model, await _object_in_body(request, seconds))


async def refuse_body(request: web.Request, seconds: float) -> None:
    """Refuse a body where none is read; an empty object says nothing, and is taken."""
    if (await _body_of(request, seconds)).strip() not in (b"", b"{}"):
        raise Problem(HTTPStatus.BAD_REQUEST, "no body is taken here; leave it out")


async def _object_in_body(request: web.Request, seconds: float) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "the body must be sent as Content-Type: application/json",
        )
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be sent uncompressed")
    try:
        value = read_json(await _body_of(request, seconds))
    except JsonError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from None
    if not isinstance(value, dict):
        raise SettingsError("the body must be an object of keys and values")
    return value


async def _body_of(request: web.Request, seconds: float) -> bytes:
    too_large = Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is longer than {MAX_BYTES} bytes"
    )
    if (request.content_length or 0) > MAX_BYTES:
        raise too_large
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the body did not arrive within {seconds:g} s",
            headers={"Connection": "close"},
        ) from None
    except web.HTTPRequestEntityTooLarge:
        raise too_large from None
    except RequestPayloadError:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body is not valid HTTP") from None
    except ConnectionError:
        raise Problem(
            HTTPStatus.BAD_REQUEST, "the client left before its body had arrived"
        ) from None


MAX_BYTES: Final = 1 << 20
"""The longest body; a pool with every key set has 2 kB."""

_MAX_DIGITS: Final = 18
"""Of an integer."""


class JsonError(ValueError):
    """Bytes that are not strict JSON; the message is a sentence."""


def read_json(data: bytes) -> Any:
    """Parse a JSON document in UTF-8; no error but `JsonError` escapes."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError(f"the body is not UTF-8 at byte {error.start}") from None
    if not text.strip(" \t\n\r"):
        raise JsonError("the body is empty, where JSON is expected")
    if text.startswith("\ufeff"):
        raise JsonError("the body begins with a byte order mark; leave it out")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_integer,
        )
        _check(value)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise JsonError(f"the body is not JSON: {_lowered(error.msg)} at {at}") from None
    except RecursionError:
        raise JsonError("the body is nested too deeply") from None
    return value


def _check(value: Any) -> None:
    match value:
        case str():
            _check_text(value)
        case list():
            for item in value:
                _check(item)
        case dict():
            for item in value.values():
                _check(item)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        _check_text(key)
        if key in found:
            raise JsonError(f"key {shown(key)} stands twice in one object; keep one of them")
        found[key] = value
    return found


def _check_text(text: str) -> None:
    if "\0" in text:
        raise JsonError(f"{shown(text)} contains a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise JsonError(f"{shown(text)} contains half of a surrogate pair")


def _constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is not a JSON number")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JsonError(f"the number {shown(text)} is too large")
    return value


def _integer(text: str) -> int:
    if len(text.removeprefix("-")) > _MAX_DIGITS:
        raise JsonError(f"the number {shown(text)} has more than {_MAX_DIGITS} digits")
    return int(text)


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
