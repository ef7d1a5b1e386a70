"""Credentials and certificates for scraping, read from files and read again when these change."""

import base64
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from controlplane.config.metrics import AccessSettings
from controlplane.files import read_file

LOOK: Final = 5.0
"""Seconds between two looks at a file: tokens that orchestrators mount are replaced every hour."""
MOST: Final = 1 << 20
"""Bytes of a file: a bundle of all certificates that a machine trusts is a quarter of that."""


class AccessError(Exception):
    """An exposition cannot be asked for; the message is a part of a sentence that says why."""


class Access:
    """How one kind of exposition is asked for."""

    def __init__(
        self,
        settings: AccessSettings,
        folder: Path = Path(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; no file is read yet. Paths are relative to the folder."""
        self._settings = settings
        self._folder = folder
        self._clock = clock
        self._read: dict[str, tuple[float, bytes]] = {}
        self._trusted: tuple[str | None, ssl.SSLContext, ssl.SSLContext] | None = None

    @property
    def server_name(self) -> str | None:
        """Whose certificate is expected; None: that of the address."""
        return self._settings.server_name

    @property
    def header(self) -> str:
        """The header with the credentials; empty where there are none. May raise `AccessError`."""
        settings = self._settings
        if settings.bearer_file is not None:
            return f"Authorization: Bearer {self._word(settings.bearer_file, ' ')}\r\n"
        if settings.username is not None and settings.password_file is not None:
            password = self._word(settings.password_file, "")
            pair = base64.b64encode(f"{settings.username}:{password}".encode()).decode("ascii")
            return f"Authorization: Basic {pair}\r\n"
        return ""

    @property
    def context(self) -> ssl.SSLContext | None:
        """For https; None for http. May raise `AccessError`."""
        return self._contexts()[0] if self._settings.scheme == "https" else None

    @property
    def http2_context(self) -> ssl.SSLContext | None:
        """The same for HTTP/2."""
        return self._contexts()[1] if self._settings.scheme == "https" else None

    def _contexts(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        name = self._settings.ca_file
        # Bundles have the names of certificates beside them, and Python takes ASCII alone.
        trusted = self._bytes(name).decode("ascii", "ignore") if name is not None else None
        if self._trusted is None or self._trusted[0] != trusted:
            try:
                context, http2 = (ssl.create_default_context(cadata=trusted) for _ in range(2))
            except (ssl.SSLError, ValueError):
                raise AccessError(f"ca_file {name} holds no certificate") from None
            http2.set_alpn_protocols(["h2"])
            self._trusted = trusted, context, http2
        return self._trusted[1:]

    def _word(self, name: str, refused: str) -> str:
        word = self._text(name).strip("\r\n")
        word = word.strip() if refused else word
        if not word or not word.isprintable() or (refused and refused in word):
            raise AccessError(f"{name} must hold one line of printing characters")
        if refused and not word.isascii():
            raise AccessError(f"{name} must hold a token of ASCII characters")
        return word

    def _text(self, name: str) -> str:
        try:
            return self._bytes(name).decode()
        except UnicodeDecodeError:
            raise AccessError(f"{name} is not UTF-8 text") from None

    def _bytes(self, name: str) -> bytes:
        """What is in a file, now or a moment ago."""
        now = self._clock()
        at, known = self._read.get(name, (float("-inf"), b""))
        if now - at < LOOK:
            return known
        try:
            data = read_file(self._folder / name, MOST)
        except OSError as error:
            raise AccessError(f"{name} cannot be read: {error.strerror or error}") from None
        self._read[name] = now, data
        return data
