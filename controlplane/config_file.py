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
from controlplane.config.config import IstioTlsSettings
from controlplane.config.document import read_document
from controlplane.files import is_pipe, read_file, read_once
from controlplane.identity import CertificateError, Credentials, checked

_log = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5
"""Between two looks. Files are replaced in too many ways for notifications of the file system."""

RETRY_LOOKS: Final = 10
"""Looks after which unchanged content is tried again: a refused config, or certificates that may
have expired."""

Content: TypeAlias = bytes | str
"""A file's bytes, or why it cannot be read."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Source(Generic[T]):
    """Files beside the config file that are parsed together.

    Attributes:
        name: Of the files, in the log.
        content: Of what they hold, in the log and in the plural.
        paths: Of the files.
        parse: Parses their contents, in the same order.
    """

    name: str
    content: str
    paths: tuple[Path, ...]
    parse: Callable[[Sequence[Content]], T]

    def read(self) -> T:
        """Read the files for the first time; a `SettingsError` if they cannot be used."""
        return self.parse([_content(path, read_once) for path in self.paths])


def token_source(path: Path) -> Source[tuple[Token, ...]]:
    """The tokens of the REST API."""
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
    """A server's certificates, and the roots of its clients'."""
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

    return Source(key, "the certificates", tuple(folder / file for file in files.values()), parse)


def read_config(path: Path) -> Config:
    """Read a config file, or a pipe; a `SettingsError` if it cannot be used."""
    return load_config(_text(_content(path, read_once), str(path)), str(path))


async def watch_source(
    source: Source[T],
    known: T,
    adopt: Callable[[T], None],
    looked: Callable[[str | None], None],
    asked: asyncio.Event | None = None,
) -> None:
    """Adopt changed files, until cancelled. Wrong or expired content changes nothing.

    Args:
        adopt: Takes new content.
        looked: Called at each look, with the reason why the content cannot be used, or None.
        asked: Set to read the files at once.
    """
    problem: str | None = None
    seen: Sequence[Content] | None = None
    looks = 0
    async for contents, is_asked in _looks(source.paths, asked or asyncio.Event()):
        looks += 1
        if contents == seen and not is_asked and looks % RETRY_LOOKS:
            looked(problem)
            continue
        seen = contents
        try:
            found = source.parse(contents)
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the content in use stays
            if str(error) != problem:
                _log.error("%s stay as they were: %s", source.content, error)
            problem = str(error)
            looked(problem)
            continue
        looked(None)
        if found != known:
            known = found
            adopt(found)
            _log.info("%s has changed and is in use", source.name)
        elif problem is not None:
            _log.info("%s is valid again, without a change", source.name)
        problem = None


async def watch(
    path: Path,
    known: Config,
    adopt: Callable[[Config], Awaitable[None]],
    looked: Callable[[str | None], None],
    asked: asyncio.Event | None = None,
) -> None:
    """Adopt a changed config file, until cancelled. An invalid file is logged and ignored.

    A valid file that contradicts changes by the API is tried again: these may be taken back.
    """
    seen: Content | None = None
    problem: str | None = None
    waiting: Config | None = None
    text, looks = "", 0
    async for (content,), is_asked in _looks((path,), asked or asyncio.Event()):
        looks += 1
        if is_asked:
            _log.info("SIGHUP: reading %s again", path)
        elif content == seen and (waiting is None or looks % RETRY_LOOKS):
            continue
        try:
            if content != seen or is_asked:
                seen, waiting = content, None
                text = _text(content, str(path))
                waiting = await asyncio.to_thread(load_config, text, str(path))
            # To compare ten thousand replicas takes as long as to read them.
            if waiting is not None and await asyncio.to_thread(operator.ne, waiting, known):
                try:
                    await adopt(waiting)
                except SettingsError as error:
                    document = await asyncio.to_thread(read_document, text, str(path))
                    if document.data is None:
                        raise SettingsError("is empty", place=str(path)) from None
                    place = f"{path}:{document.line(error.path)}"
                    raise SettingsError(error.problem, error.path, place) from None
                known = waiting
                _log.info("%s has changed and is in use", path)
            elif problem is not None:
                _log.info("%s is valid again, without a change", path)
            waiting = problem = None
            looked(None)
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the old config stays
            looked(str(error))
            if str(error) != problem or is_asked:
                _log.error(
                    "the changed config file is ignored, the previous one applies: %s", error
                )
            problem = str(error)


async def _looks(
    paths: Sequence[Path], asked: asyncio.Event
) -> AsyncIterator[tuple[Sequence[Content], bool]]:
    """Look at files again and again, and yield what two looks in a row have found.

    A file may be half written at the first look. A requested look is taken at once.

    Yields:
        The contents, and whether the look was requested.
    """
    for path in paths:
        if await asyncio.to_thread(is_pipe, path):
            _log.warning("%s is a pipe: it is read once, and changes are not followed", path)
            await asyncio.Event().wait()
    before: Sequence[Content] | None = None
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await asked.wait()
        is_asked = asked.is_set()
        asked.clear()
        found = await asyncio.to_thread(lambda: [_content(path) for path in paths])
        if found == before or is_asked:
            yield found, is_asked
        before = found


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
