"""The config file, the token file, certificates: read at the start and whenever one has changed."""

import asyncio
import logging
import operator
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeAlias, TypeVar

from controlplane.config import (
    AdminTlsSettings,
    Config,
    SettingsError,
    Token,
    XdsTlsSettings,
    load_config,
    parse_tokens,
)
from controlplane.config.istio import IstioTlsSettings
from controlplane.files import is_pipe, read_file, read_once
from controlplane.identity import CertificateError, Credentials, checked

_log = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5
"""Editors and Kubernetes replace files in too many ways for one kind of notification."""

AGAIN: Final = 10
"""Looks after which what has not changed is tried again: a config that was refused, certificates
that may have expired."""

Content: TypeAlias = bytes | str
"""What a look at a file found: its bytes, or why it cannot be read."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Source(Generic[T]):
    """Files beside the config file that together say one thing.

    Attributes:
        name: What the log calls them.
        content: What the log calls what they say, in the plural.
        paths: Of the files.
        parse: Makes sense of what is in them, in their order.
    """

    name: str
    content: str
    paths: tuple[Path, ...]
    parse: Callable[[Sequence[Content]], T]

    def read(self) -> T:
        """Read it for the first time.

        Raises:
            SettingsError: It cannot be read or is wrong.
        """
        return self.parse([_content(path, read_once) for path in self.paths])


def token_source(path: Path) -> Source[tuple[Token, ...]]:
    """Who may use the REST API."""
    name = f"token_file {path}"
    return Source(
        name, "the tokens", (path,), lambda found: parse_tokens(_text(found[0], name), name)
    )


def tls_source(
    key: str,
    settings: XdsTlsSettings | AdminTlsSettings | IstioTlsSettings,
    folder: Path,
    attempt: Callable[[Credentials], object],
) -> Source[Credentials]:
    """What a server shows its clients, and the roots of theirs.

    Args:
        key: Of the settings in the config file.
        settings: Name the files.
        folder: That their paths are relative to.
        attempt: Tries to serve with them; raises `CertificateError` where that is not possible.
    """
    files = {"certificate": settings.certificate, "key": settings.key}
    if not isinstance(settings, IstioTlsSettings) and settings.client_ca is not None:
        files["client_ca"] = settings.client_ca

    def parse(contents: Sequence[Content]) -> Credentials:
        read: dict[str, bytes] = {}
        for (which, file), content in zip(files.items(), contents, strict=True):
            if isinstance(content, str):
                raise SettingsError(f"{which} {file} cannot be read: {content}", place=key)
            read[which] = content
        try:
            made = Credentials(read["certificate"], read["key"], read.get("client_ca"))
            found = checked(made, time.time())
            attempt(found)
        except CertificateError as error:
            raise SettingsError(str(error), place=key) from None
        return found

    return Source(key, "the certificates", tuple(folder / it for it in files.values()), parse)


def read_config(path: Path) -> Config:
    """Read a config file, or a pipe that has one.

    Raises:
        SettingsError: When it cannot be read or is wrong.
    """
    return load_config(_text(_content(path, read_once), str(path)), str(path))


async def watch_source(
    source: Source[T],
    known: T,
    adopt: Callable[[T], None],
    looked: Callable[[str | None], None],
    asked: asyncio.Event | None = None,
) -> None:
    """Have what has changed adopted, until cancelled. What is wrong or has expired changes nothing.

    Args:
        source: The files.
        known: What was read of them at the start.
        adopt: Takes what they say by now.
        looked: Told at each look why that cannot be used; None if it can.
        asked: Set to have them read at once.
    """
    said: str | None = None
    seen: Sequence[Content] | None = None
    looks = 0
    async for contents, is_asked in _looks(source.paths, asked or asyncio.Event()):
        looks += 1
        if contents == seen and not is_asked and looks % AGAIN:
            looked(said)
            continue
        seen = contents
        try:
            found = source.parse(contents)
        except Exception as error:  # noqa: BLE001 - whatever is wrong, what is in use stays
            if str(error) != said:
                _log.error("%s stay as they were: %s", source.content, error)
            said = str(error)
            looked(said)
            continue
        looked(None)
        if found != known:
            known = found
            adopt(found)
            _log.info("%s has changed and is in use", source.name)
        elif said is not None:
            _log.info("%s is as it was", source.name)
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
    async for (content,), is_asked in _looks((path,), asked or asyncio.Event()):
        looks += 1
        if is_asked:
            _log.info("%s is read again, as asked", path)
        elif content == seen and (waiting is None or looks % AGAIN):
            continue
        try:
            if content != seen or is_asked:
                seen, waiting = content, None
                text = _text(content, str(path))
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


async def _looks(
    paths: Sequence[Path], asked: asyncio.Event
) -> AsyncIterator[tuple[Sequence[Content], bool]]:
    """Look at files again and again, and yield what two looks in a row have found.

    A file that is being written has less in it than it will have. Whoever asks for a look says
    that it is whole.

    Yields:
        What was found, and whether it was asked for.
    """
    for path in paths:
        if await asyncio.to_thread(is_pipe, path):
            _log.warning("%s is a pipe: what came through it is used, and no changes follow", path)
            await asyncio.Event().wait()
    before: Sequence[Content] | None = None
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await asked.wait()
        is_asked = asked.is_set()
        asked.clear()
        found = await asyncio.to_thread(_contents, paths)
        if found == before or is_asked:
            yield found, is_asked
        before = found


def _contents(paths: Sequence[Path]) -> Sequence[Content]:
    return [_content(path) for path in paths]


def _content(path: Path, read: Callable[[Path], bytes] = read_file) -> Content:
    try:
        return read(path)
    except OSError as error:
        return error.strerror or str(error)


def _text(content: Content, name: str) -> str:
    if isinstance(content, str):
        raise SettingsError(f"cannot be read: {content}", place=name)
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise SettingsError("is not UTF-8 text", place=name) from None
