"""What a request asks for: names from its path, plain data from its body; a `Problem` otherwise."""

import asyncio
from http import HTTPStatus
from typing import Any, Final, TypeVar

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError
from pydantic import BaseModel, TypeAdapter, ValidationError

from controlplane.edges.rest.body import MAX_BYTES, JsonError, read_json
from controlplane.edges.rest.problems import Problem
from controlplane.settings import PoolSettings, ReplicaSettings, SettingsError, validated
from controlplane.settings.values import Name

BodyT = TypeVar("BodyT", bound=BaseModel)
SettingsT = TypeVar("SettingsT", PoolSettings, ReplicaSettings)

_NAME: Final = TypeAdapter(Name)


def name_in_path(request: web.Request, part: str) -> str:
    """A pool's name or a replica's id, as the path gives it.

    Raises:
        Problem: It is none.
    """
    text = request.match_info[part]
    try:
        return _NAME.validate_python(text)
    except ValidationError:
        shown = ascii(text)
        if len(shown) > 60:
            shown = f"{shown[:57]}..."
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"{shown} cannot name a {part}: take 1 to 63 letters, digits, dots, dashes and"
            " underscores, with a letter or digit first",
        ) from None


async def settings_in_body(
    request: web.Request, model: type[SettingsT], name_key: str, name: str, seconds: float
) -> SettingsT:
    """The body as settings; it may repeat the name that the path gives.

    Args:
        request: Whose body it is.
        model: Of the settings.
        name_key: Under which the name may be repeated.
        name: In the path.
        seconds: For the whole body to arrive.

    Raises:
        Problem: The body cannot be had or read.
        SettingsError: It says something that is wrong.
    """
    data = await _json(request, seconds)
    if not isinstance(data, dict):
        raise SettingsError("the body must be an object of keys and values")
    if data.get(name_key, name) != name:
        raise SettingsError(f"must be {name!r}, as in the path, or left out", (name_key,))
    return validated(model, {key: value for key, value in data.items() if key != name_key})


async def body_as(request: web.Request, model: type[BodyT], seconds: float) -> BodyT:
    """The body as a model.

    Args:
        request: Whose body it is.
        model: Of the body.
        seconds: For the whole of it to arrive.

    Raises:
        Problem: The body cannot be had or read.
        SettingsError: It says something that is wrong.
    """
    data = await _json(request, seconds)
    if not isinstance(data, dict):
        raise SettingsError("the body must be an object of keys and values")
    return validated(model, data)


async def _json(request: web.Request, seconds: float) -> Any:
    if request.content_type != "application/json":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "the body must be sent as Content-Type: application/json",
        )
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be sent uncompressed")
    too_large = Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is longer than {MAX_BYTES} bytes"
    )
    if (request.content_length or 0) > MAX_BYTES:
        raise too_large
    try:
        async with asyncio.timeout(seconds):
            data = await request.read()
        return read_json(data)
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the body did not arrive within {seconds:g} s",
            headers={"Connection": "close"},
        ) from None
    except web.HTTPRequestEntityTooLarge:
        raise too_large from None
    except RequestPayloadError:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body is not sent as HTTP says") from None
    except ConnectionError:
        raise Problem(HTTPStatus.BAD_REQUEST, "the client left before its body was here") from None
    except JsonError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from None
