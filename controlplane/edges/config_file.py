"""The config file and the token file: read at the start, and again whenever one has changed."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from controlplane.settings import Config, SettingsError, Token, load_config, parse_tokens

_log = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
"""Editors and Kubernetes replace files in too many ways for one kind of notification."""

AGAIN: Final = 5
"""Looks after which a config that was refused is tried again."""


def read_config(path: Path) -> Config:
    """Read a config file.

    Raises:
        SettingsError: When it cannot be read or is wrong.
    """
    return load_config(_text(path), str(path))


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Read who may use the REST API from the token file.

    Raises:
        SettingsError: When it cannot be read or is wrong.
    """
    return parse_tokens(_text(path), f"token_file {path}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SettingsError("is not UTF-8 text", place=str(path)) from None
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise SettingsError(problem, place=str(path)) from None


async def watch_tokens(
    path: Path,
    known: tuple[Token, ...],
    adopt: Callable[[tuple[Token, ...]], None],
    looked: Callable[[str | None], None],
) -> None:
    """Have a changed token file adopted, until cancelled. One that is wrong changes nothing.

    Args:
        path: Of the token file.
        known: What was read of it at the start.
        adopt: Takes the new tokens.
        looked: Told at each look why the file cannot be used; None if it can.
    """
    said: str | None = None
    while True:
        await asyncio.sleep(POLL_SECONDS)
        try:
            found = await asyncio.to_thread(read_tokens, path)
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
    adopt: Callable[[Config], None],
    looked: Callable[[str | None], None],
) -> None:
    """Have a changed file adopted, until cancelled. A bad one is logged and changes nothing.

    One that is right and does not go with what the API said is tried again: that may be taken back.

    Args:
        path: Of the config file.
        known: What was read of it at the start; it may have changed since.
        adopt: Takes the new config; may raise `SettingsError` or another exception whose text
            says why it does not.
        looked: Told why what the file says by now is not used; None when it is.
    """
    # What no config is, so that the first look reads it.
    seen: bytes | None = b"\0"
    said: str | None = None
    waiting: Config | None = None
    looks = 0
    while True:
        await asyncio.sleep(POLL_SECONDS)
        looks += 1
        now = await asyncio.to_thread(_fingerprint, path)
        if now == seen and (waiting is None or looks % AGAIN):
            continue
        try:
            if now != seen:
                seen, waiting = now, None
                waiting = await asyncio.to_thread(read_config, path)
            if waiting is not None and waiting != known:
                adopt(waiting)
                known = waiting
                _log.info("%s has changed and is in use", path)
            elif said is not None:
                _log.info("%s is as it was", path)
            waiting = said = None
            looked(None)
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the old config stays
            looked(str(error))
            if str(error) != said:
                _log.error("the changed config is not used, the old one stays: %s", error)
            said = str(error)


def _fingerprint(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
