"""The small values that settings are made of: durations, sizes, percentages, names."""

import posixpath
import re
import string
from decimal import Decimal
from typing import Annotated, Final, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from controlplane.config.errors import shown

_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)", re.ASCII)


_UNIT_SECONDS: Final = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}


_SIZE: Final = re.compile(r"(\d{1,9})(B|KiB|MiB|GiB)", re.ASCII)


_UNIT_BYTES: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


SettingsT = TypeVar("SettingsT", bound="Settings")


class Settings(BaseModel):
    """Base of every declared type: frozen, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def as_base(self, base: type[SettingsT]) -> SettingsT:
        """Return the part of the settings that a base class has."""
        # Not validated again: durations are numbers of seconds by now.
        given, values = self.model_fields_set & base.model_fields.keys(), dict(self)
        of_base = {name: values[name] for name in base.model_fields}
        return cast("SettingsT", base.model_construct(given, **of_base))


def parse_duration(text: object) -> float:
    """Read a duration such as ``250ms``, ``1.5s``, ``2m`` or ``1h``; the result is in seconds."""
    matched = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if matched is None:
        raise ValueError(
            f'{shown(text)} is not a duration: write a number and a unit, as in "500ms" or "1s"'
        )
    # Decimal, so that 1.1s and 1100ms are the same number.
    return float(Decimal(matched[1]) * _UNIT_SECONDS[matched[2]])


def format_duration(seconds: float) -> str:
    """Print seconds so that `parse_duration` reads the same number of what it once read."""
    exact = Decimal(repr(seconds))
    exponent = exact.normalize().as_tuple().exponent
    # A duration written in ms may have too many places in seconds.
    in_ms = exact < 1 or (isinstance(exponent, int) and exponent < -9)
    text = f"{exact * 1000 if in_ms else exact:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text}ms" if in_ms else f"{text}s"


def parse_size(text: object) -> int:
    """Read a size such as ``512KiB``, ``32MiB`` or ``1GiB``; the result is in bytes."""
    matched = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if matched is None:
        raise ValueError(
            f'{shown(text)} is not a size: write a whole number and a unit, as in "512KiB" or'
            ' "32MiB"'
        )
    return int(matched[1]) * _UNIT_BYTES[matched[2]]


def format_size(size: int) -> str:
    """Print bytes in the largest unit that leaves a whole number."""
    unit = next(unit for unit in ("GiB", "MiB", "KiB", "B") if size % _UNIT_BYTES[unit] == 0)
    return f"{size // _UNIT_BYTES[unit]}{unit}"


def parse_percentage(text: object) -> float:
    """Read a part, such as ``99.9%``."""
    matched = _PERCENTAGE.fullmatch(text) if isinstance(text, str) else None
    if matched is None or not float(matched[1]):
        raise ValueError(f'{text!r} is not a percentage between 0% and 100%, as in "99.9%"')
    return round(float(matched[1]) / 100, 8)


def format_percentage(part: float) -> str:
    """Print a part as a percentage."""
    return f"{part * 100:.6f}".rstrip("0").rstrip(".") + "%"


def _at_least_10ms(seconds: float) -> float:
    if not 0.01 <= seconds <= 86_400:
        raise ValueError(f"{format_duration(seconds)} is out of range: 10ms to 24h")
    return seconds


def _buffer(size: int) -> int:
    if not 1 << 16 <= size <= 1 << 30:
        raise ValueError(f"{format_size(size)} is out of range: 64KiB to 1GiB")
    return size


_PERCENTAGE: Final = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,6})?)%", re.ASCII)


Duration = Annotated[
    float,
    BeforeValidator(lambda text: _at_least_10ms(parse_duration(text))),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h)$",
            "examples": ["500ms", "1.5s", "2m"],
        }
    ),
]
"""Seconds; written as a number with a unit."""


Percentage = Annotated[
    float,
    BeforeValidator(parse_percentage),
    PlainSerializer(format_percentage, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[0-9]{1,2}(\.[0-9]{1,6})?%$",
            "examples": ["99.9%"],
        }
    ),
]
"""A part, between 0 and 1; written as a percentage."""


BufferSize = Annotated[
    int,
    BeforeValidator(lambda text: _buffer(parse_size(text))),
    PlainSerializer(format_size, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[0-9]{1,9}(B|KiB|MiB|GiB)$",
            "examples": ["512KiB", "32MiB"],
        }
    ),
]
"""Bytes that a buffer may hold; written as a whole number with a unit."""


File = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]
"""A path, relative to the config file. What it holds is read again when it changes."""


def matching(pattern: str, problem: str) -> AfterValidator:
    """Refuse a text that does not match a pattern as a whole; `problem` ends the sentence."""
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"{shown(text)} {problem}")
        return text

    return AfterValidator(check)


Port = Annotated[int, Field(ge=1, le=65535)]

Slots = Annotated[int, Field(ge=1, le=4096)]
"""Requests that a replica computes at the same time."""

HeaderName = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")]
"""The name of a header (RFC 9110, section 5.6.2) or of a cookie (RFC 6265, section 4.1.1)."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
"""A pool's name or a replica's id: safe in a URL, a log line, a metric label and Envoy."""


Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]
"""A label's key, or a locality's part."""


LabelValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/:@+-]{0,128}$")]
"""A label's value."""


_PATH: Final = r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]{0,255}"


UrlPath = Annotated[str, StringConstraints(pattern=rf"^{_PATH}(\?[\x21\x22\x24-\x7e]{{0,255}})?$")]
"""The path of an HTTP request on a replica, with a query or without."""


_ESCAPED: Final = re.compile(r"%([0-9A-Fa-f]{2})", re.ASCII)

_UNESCAPED: Final = frozenset(f"{string.ascii_letters}{string.digits}-._~/\\")
"""Characters whose escapes an Envoy undoes in a path before it looks for the route."""


def normalized_path(path: str) -> str:
    """Return a path as an Envoy compares it with prefixes (RFC 3986, section 6.2.2)."""

    def unescaped(found: re.Match[str]) -> str:
        character = chr(int(found[1], 16))
        return character if character in _UNESCAPED else found[0]

    plain = _ESCAPED.sub(unescaped, path).replace("\\", "/")
    # POSIX has a meaning for two slashes at the start, and none for one at the end.
    found = posixpath.normpath(f"/{plain.lstrip('/')}")
    is_open = found != "/" and plain.rpartition("/")[2] in ("", ".", "..")
    return f"{found}/" if is_open else found


def _as_compared(prefix: str) -> str:
    if (compared := normalized_path(prefix)) != prefix:
        raise ValueError(
            f"{shown(prefix)} matches no request: Envoys compare such a path as"
            f" {shown(compared)}; write that"
        )
    return prefix


PathPrefix = Annotated[str, StringConstraints(pattern=rf"^{_PATH}$"), AfterValidator(_as_compared)]
"""The start of a request's path, as far as `is_below` says; a query does not count."""


def is_below(path: str, prefix: str) -> bool:
    """Return whether a path begins with all segments of a prefix.

    ``/v1admin`` is not below ``/v1``, but ``/v1/models`` and ``/v1:predict`` are. A prefix that
    ends in a separator is any start: ``/v1/``, or ``/inference.`` for the services of a package.
    """
    rest = path.removeprefix(prefix)
    return path.startswith(prefix) and (prefix[-1] in "/:." or rest[:1] in ("", "/", ":"))


def pattern_below(prefix: str) -> str:
    """Return the regular expression of the paths that are below a prefix."""
    return re.escape(prefix) + (".*" if prefix[-1] in "/:." else "([/:].*)?")
