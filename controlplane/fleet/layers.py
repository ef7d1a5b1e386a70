"""What the config file and the API say of one pool or replica, one above the other.

The file declares, the API adds and overrides. Both are kept unmerged, so that
without it the file's values are there again.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Generic

from controlplane.config.pool import SettingsT, given_keys, overridden


class Source(StrEnum):
    """Who declared something; what the file declares, a changed file can take away."""

    FILE = "file"
    API = "api"
    DISCOVERY = "discovery"


# Without slots: a generic dataclass with them cannot be made as Layers[X]().
@dataclass(frozen=True)
class Layers(Generic[SettingsT]):
    """Settings by who declares them: the config file, and above it the API, each None without any.

    Attributes:
        overrides: The keys in which `api` counts where the file declares the rest: they differed
            from the file when they were put. A key that was equal follows the file when that
            changes.
        owner: The name of the token that declared `api` first, and may change it, if it is known.
    """

    file: SettingsT | None = None
    api: SettingsT | None = None
    overrides: frozenset[str] = frozenset()
    owner: str | None = None

    def with_api(self, settings: SettingsT, owner: str | None = None) -> "Layers[SettingsT]":
        """Replace all that the API declared before; `owner` counts where there was none."""
        keys = given_keys(settings)
        if self.file is not None:
            keys = frozenset(k for k in keys if getattr(settings, k) != getattr(self.file, k))
            if not keys:
                return Layers(self.file)
        return Layers(self.file, settings, keys, self.owner or owner)

    def without_api(self) -> "Layers[SettingsT]":
        """With what the file says alone."""
        return Layers(self.file)

    def with_file(self, settings: SettingsT | None) -> "Layers[SettingsT]":
        """With this declared by the file; None: no longer."""
        if settings is None and self.api is not None:
            return Layers(None, self.api, given_keys(self.api), self.owner)
        return replace(self, file=settings)

    @property
    def source(self) -> Source:
        """Who declares it, also where the API overrides a part."""
        return Source.API if self.file is None else Source.FILE

    def merged(self) -> SettingsT:
        """Return the settings that count; `SettingsError`: the two layers do not go together."""
        if self.file is not None and self.api is not None:
            return overridden(self.file, self.api, self.overrides)
        if (anyone := self.file or self.api) is None:
            raise ValueError("nobody has declared it")
        return anyone

    def sources(self) -> dict[str, str]:
        """Where the value of each key comes from: ``file``, ``api`` or ``default``."""
        files = given_keys(self.file) if self.file is not None else frozenset()
        anyone = self.file or self.api
        return {
            key: "api" if key in self.overrides else "file" if key in files else "default"
            for key in (type(anyone).model_fields if anyone is not None else ())
        }
