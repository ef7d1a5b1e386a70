"""The config file and the token file: read at the start, and again whenever one has changed."""

import asyncio
import logging
import operator
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from controlplane.config import Config, SettingsError, Token, load_config, parse_tokens
from controlplane.files import is_pipe, read_file, read_once

_log = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5
"""Editors and Kubernetes replace files in too many ways for one kind of notification."""

AGAIN: Final = 10
"""Looks after which a config that was refused is tried again."""

Content: TypeAlias = bytes | str
"""What a look at a file found: its bytes, or why it cannot be read."""


def read_config(path: Path) -> Config:
    """Read a config file, or a pipe that has one.

    Raises:
        SettingsError: When it cannot be read or is wrong.
    """
    return load_config(_text(_content(path, read_once), path), str(path))


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Read who may use the REST API from the token file.

    Raises:
        SettingsError: When it cannot be read or is wrong.
    """
    return _tokens(_content(path, read_once), path)


async def watch_tokens(
    path: Path,
    known: tuple[Token, ...],
    adopt: Callable[[tuple[Token, ...]], None],
    looked: Callable[[str | None], None],
    asked: asyncio.Event | None = None,
) -> None:
    """Have a changed token file adopted, until cancelled. One that is wrong changes nothing.

    Args:
        path: Of the token file.
        known: What was read of it at the start.
        adopt: Takes the new tokens.
        looked: Told at each look why the file cannot be used; None if it can.
        asked: Set to have it read at once.
    """
    said: str | None = None
    async for content, _ in _looks(path, asked or asyncio.Event()):
        try:
            found = _tokens(content, path)
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the old tokens stay
            if str(error) != said:
                _log.error("the tokens stay as they were: %s", error)
            said = str(error)
            looked(said)
            continue
        looked(None)
        if found != known:
            known = found
            adopt(found)
            _log.info("token_file %s has changed and is in use", path)
        elif said is not None:
            _log.info("token_file %s is as it was", path)
        said = None


async def watch(
    path: Path,
    known: Config,
    adopt: Callable[[Config], Awaitable[None]],
    looked: Callable[[str | None], None],
    asked: asyncio.Event | None = None,
) -> None:
    """Have a changed file adopted, until cancelled. A bad one is logged and changes nothing.

    One that is right and does not go with what the API said is tried again: that may be taken back.

    Args:
        path: Of the config file.
        known: What was read of it at the start; it may have changed since.
        adopt: Takes the new config; may raise `SettingsError` or another exception whose text
            says why it does not.
        looked: Told why what the file says by now is not used; None when it is.
        asked: Set to have it read at once.
    """
    seen: Content | None = None
    said: str | None = None
    waiting: Config | None = None
    looks = 0
    async for content, is_asked in _looks(path, asked or asyncio.Event()):
        looks += 1
        if is_asked:
            _log.info("%s is read again, as asked", path)
        elif content == seen and (waiting is None or looks % AGAIN):
            continue
        try:
            if content != seen or is_asked:
                seen, waiting = content, None
                text = _text(content, path)
                waiting = await asyncio.to_thread(load_config, text, str(path))
            # To compare ten thousand replicas takes as long as to read them.
            if waiting is not None and await asyncio.to_thread(operator.ne, waiting, known):
                await adopt(waiting)
                known = waiting
                _log.info("%s has changed and is in use", path)
            elif said is not None:
                _log.info("%s is as it was", path)
            waiting = said = None
            looked(None)
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the old config stays
            looked(str(error))
            if str(error) != said or is_asked:
                _log.error("the changed config is not used, the old one stays: %s", error)
            said = str(error)


async def _looks(path: Path, asked: asyncio.Event) -> AsyncIterator[tuple[Content, bool]]:
    """Look at a file again and again, and yield what two looks in a row have found.

    A file that is being written has less in it than it will have. Whoever asks for a look says
    that it is whole.

    Yields:
        What was found, and whether it was asked for.
    """
    if await asyncio.to_thread(is_pipe, path):
        _log.warning("%s is a pipe: what came through it is used, and no changes follow", path)
        await asyncio.Event().wait()
    before: Content | None = None
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await asked.wait()
        is_asked = asked.is_set()
        asked.clear()
        found = await asyncio.to_thread(_content, path)
        if found == before or is_asked:
            yield found, is_asked
        before = found


def _content(path: Path, read: Callable[[Path], bytes] = read_file) -> Content:
    try:
        return read(path)
    except OSError as error:
        return error.strerror or str(error)


def _text(content: Content, path: Path) -> str:
    if isinstance(content, str):
        raise SettingsError(f"cannot be read: {content}", place=str(path))
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise SettingsError("is not UTF-8 text", place=str(path)) from None


def _tokens(content: Content, path: Path) -> tuple[Token, ...]:
    return parse_tokens(_text(content, path), f"token_file {path}")
