"""The config file on disk: read once at the start, and again whenever it has changed."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from controlplane.settings import Config, SettingsError, load_config

_log = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
"""Editors and Kubernetes replace files in too many ways for one kind of notification."""


def read_config(path: Path) -> Config:
    """Read a config file.

    Raises:
        SettingsError: When it cannot be read or is wrong.
    """
    return load_config(_text(path), str(path))


def read_token(path: Path) -> str:
    """Read the bearer token of the REST API from its file.

    Raises:
        SettingsError: When it cannot be read or is too short to keep anybody out.
    """
    token = _text(path).strip()
    if len(token) < 16 or not token.isascii() or any(character.isspace() for character in token):
        raise SettingsError(
            "must hold one token of at least 16 ASCII characters", place=f"token_file {path}"
        )
    return token


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SettingsError("is not UTF-8 text", place=str(path)) from None
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise SettingsError(problem, place=str(path)) from None


async def watch(path: Path, adopt: Callable[[Config], None]) -> None:
    """Have a changed file adopted, until cancelled. A bad one is logged and changes nothing.

    Args:
        path: Of the config file.
        adopt: Takes the new config; may raise `SettingsError` or another exception whose text
            says why it does not.
    """
    seen = await asyncio.to_thread(_fingerprint, path)
    while True:
        await asyncio.sleep(POLL_SECONDS)
        now = await asyncio.to_thread(_fingerprint, path)
        if now == seen:
            continue
        seen = now
        try:
            adopt(await asyncio.to_thread(read_config, path))
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the old config stays
            _log.error("the changed config is not used, the old one stays: %s", error)
        else:
            _log.info("%s has changed and is in use", path)


def _fingerprint(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
