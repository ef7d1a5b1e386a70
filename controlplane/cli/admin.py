"""A client of the REST API for commands: one request, its answer as plain data, or one sentence."""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import click
from yarl import URL

from controlplane.cli.failure import USAGE, fail

DEFAULT_URL: Final = "http://127.0.0.1:8080"
_TIMEOUT: Final = 10.0
"""Seconds for a whole request; the control plane answers from memory."""

F = TypeVar("F", bound=Callable[..., None])


def url_option(command: F) -> F:
    """Add ``--url`` to a command."""
    return click.option(
        "--url",
        envvar="PLIMSOLL_URL",
        default=DEFAULT_URL,
        show_default=True,
        help="Of the control plane's API; also PLIMSOLL_URL. Its token is in PLIMSOLL_TOKEN.",
    )(command)


def path(*parts: str) -> str:
    """A path below ``/v1`` of parts that may hold any character."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def ask(
    url: str,
    method: str,
    to: str,
    body: Mapping[str, Any] | None = None,
    *,
    option: str = "--url",
) -> Any:
    """Send one request and return the answer; ends the process with a sentence if there is none.

    Args:
        url: Of the API.
        method: Of HTTP.
        to: A path by `path`.
        body: Sent as JSON.
        option: That the URL was given with.
    """
    if not _is_http(url):
        fail(f'{option}: {url!r} is not an address such as "{DEFAULT_URL}"', USAGE)
    try:
        return asyncio.run(_ask(url.rstrip("/"), method, to, body))
    except aiohttp.ClientConnectorError:
        fail(
            f"no control plane answers at {url}: start it with `plimsoll serve --config FILE`, or"
            f" set {option}"
        )
    except TimeoutError:
        fail(f"the control plane at {url} did not answer within {_TIMEOUT:g} s")
    except (aiohttp.ClientError, ValueError) as error:
        fail(f"what answers at {url} is no control plane of Plimsoll: {printable(str(error))}")


def authorization() -> dict[str, str]:
    """The header with the token of the environment; nothing without one."""
    token = os.environ.get("PLIMSOLL_TOKEN", "").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def printable(text: str) -> str:
    """A text from elsewhere without what a terminal would take for a command."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


async def _ask(url: str, method: str, to: str, body: Mapping[str, Any] | None) -> Any:
    headers = authorization()
    async with (
        # Proxies are for other hosts: neither they nor ~/.netrc have a say in this.
        aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT), headers=headers, trust_env=False
        ) as session,
        session.request(
            method, URL(url + to, encoded=True), json=body, allow_redirects=False
        ) as response,
    ):
        if response.status == 204:
            return None
        if response.content_type not in ("application/json", "application/problem+json"):
            raise ValueError(f"HTTP {response.status} with {response.content_type}")
        answer = await response.json(content_type=None)
    if response.status >= 400:
        hint = "; set PLIMSOLL_TOKEN" if response.status == 401 else ""
        fail(printable(str(answer.get("detail", f"HTTP {response.status}"))) + hint)
    return answer
