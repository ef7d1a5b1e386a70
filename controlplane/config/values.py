"""The small values settings are made of: addresses, durations, names.

Each parses from the text a user writes, refuses with one sentence, and prints back as written.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from controlplane.config.errors import shown
from controlplane.config.reach import refusal

_HOST_NAME: Final = re.compile(
    r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*", re.ASCII
)
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)", re.ASCII)
_UNIT_SECONDS: Final = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}

_SIZE: Final = re.compile(r"(\d{1,9})(B|KiB|MiB|GiB)", re.ASCII)
_UNIT_BYTES: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Settings(BaseModel):
    """Base of every declared type: frozen, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A host and a port, never a URL.

    Attributes:
        host: An IP address in canonical form, or a host name.
        port: 0 to 65535; 0 (any free port) only where a server of ours binds.
    """

    host: str
    port: int

    @property
    def ip(self) -> IPv4Address | IPv6Address | None:
        """The host as an IP address, or None when it is a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or (self.ip is not None and self.ip.is_loopback)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: object) -> Address:
    """Read ``host:port``; IPv6 hosts stand in brackets, IPv4-mapped ones are unwrapped.

    Raises:
        ValueError: With one sentence that says what would be right.
    """
    if isinstance(text, Address):
        return text
    if not isinstance(text, str):
        raise ValueError('must be "host:port", for example "127.0.0.1:9001"')
    given = shown(text)
    if "://" in text or "/" in text:
        raise ValueError(f'{given} is not "host:port": leave out the scheme and the path')
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError(f'{given} is not "host:port" with a port up to 65535')
    if host.startswith("[") and host.endswith("]"):
        return Address(_ipv6(host[1:-1], given), int(port))
    if ":" in host:
        raise ValueError(f'{given}: write an IPv6 host in brackets, as in "[::1]:9001"')
    try:
        return Address(str(IPv4Address(host)), int(port))
    except ValueError:
        if re.fullmatch(r"[\d.]*", host) or not _HOST_NAME.fullmatch(host) or len(host) > 253:
            raise ValueError(f"{given} has no valid IP address or host name") from None
    return Address(host.lower(), int(port))


def _ipv6(host: str, given: str) -> str:
    if "%" in host:
        raise ValueError(f"{given}: an IPv6 zone id means nothing to another machine; leave it out")
    try:
        parsed = IPv6Address(host)
    except ValueError:
        raise ValueError(f"{given} has no valid IPv6 address") from None
    return str(parsed.ipv4_mapped or parsed)


def parse_duration(text: object) -> float:
    """Read a duration such as ``250ms``, ``1.5s``, ``2m`` or ``1h``; the result is in seconds.

    Raises:
        ValueError: With one sentence that says what would be right.
    """
    matched = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if matched is None:
        raise ValueError(
            f'{shown(text)} is not a duration: write a number and a unit, as in "500ms" or "1s"'
        )
    # Exact until the last step, so that 1.1s and 1100ms are the same number.
    return float(Decimal(matched[1]) * _UNIT_SECONDS[matched[2]])


def format_duration(seconds: float) -> str:
    """Print seconds so that `parse_duration` reads the same number of what it once read."""
    exact = Decimal(repr(seconds))
    exponent = exact.normalize().as_tuple().exponent
    # What has too many places in seconds, having been written in ms, has few enough in ms.
    in_ms = exact < 1 or (isinstance(exponent, int) and exponent < -9)
    text = f"{exact * 1000 if in_ms else exact:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text}ms" if in_ms else f"{text}s"


def parse_size(text: object) -> int:
    """Read a size such as ``512KiB``, ``32MiB`` or ``1GiB``; the result is in bytes.

    Raises:
        ValueError: With one sentence that says what would be right.
    """
    matched = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if matched is None:
        raise ValueError(
            f'{shown(text)} is not a size: write a whole number and a unit, as in "512KiB" or'
            ' "32MiB"'
        )
    return int(matched[1]) * _UNIT_BYTES[matched[2]]


def format_size(size: int) -> str:
    """Print bytes in the largest unit that leaves a whole number."""
    unit = next(it for it in ("GiB", "MiB", "KiB", "B") if size % _UNIT_BYTES[it] == 0)
    return f"{size // _UNIT_BYTES[unit]}{unit}"


def parse_percentage(text: object) -> float:
    """Read a part, such as ``99.9%``.

    Raises:
        ValueError: With one sentence that says what would be right.
    """
    matched = _PERCENTAGE.fullmatch(text) if isinstance(text, str) else None
    if matched is None or not float(matched[1]):
        raise ValueError(f'{text!r} is not a percentage between 0% and 100%, as in "99.9%"')
    return round(float(matched[1]) / 100, 8)


def format_percentage(part: float) -> str:
    """Print a part as a percentage."""
    return f"{part * 100:.6f}".rstrip("0").rstrip(".") + "%"


def _bound_port(address: Address) -> Address:
    if address.port == 0:
        raise ValueError("port 0 reaches nothing: give the port that is served, 1 to 65535")
    return address


def _ip_only(address: Address) -> Address:
    if address.ip is None:
        raise ValueError(
            f'{address.host!r} is a name: Envoy takes an IP address here, as in "127.0.0.1:9001"'
        )
    return address


def _reachable(address: Address) -> Address:
    if address.ip is None:
        return _ip_only(address)
    if (why := refusal(address.ip)) is not None:
        raise ValueError(f"{address.host} {why}")
    return address


def parse_listener_address(text: object) -> Address:
    """Read where an Envoy is to listen: an IP address and a port that is not 0.

    Raises:
        ValueError: With one sentence that says what would be right.
    """
    return _ip_only(_bound_port(parse_address(text)))


def _at_least_10ms(seconds: float) -> float:
    if not 0.01 <= seconds <= 86_400:
        raise ValueError(f"{format_duration(seconds)} is out of range: 10ms to 24h")
    return seconds


def _buffer(size: int) -> int:
    if not 1 << 16 <= size <= 1 << 30:
        raise ValueError(f"{format_size(size)} is out of range: 64KiB to 1GiB")
    return size


_PERCENTAGE: Final = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,6})?)%", re.ASCII)

_AsText = PlainSerializer(str, return_type=str)

_OCTET: Final = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IP_AND_PORT: Final = WithJsonSchema(
    {
        "type": "string",
        "pattern": rf"^({_OCTET}(\.{_OCTET}){{3}}|\[[0-9A-Fa-f:.]{{2,45}}\]):[0-9]{{1,5}}$",
        "examples": ["10.0.0.11:8080"],
    }
)
"""For those who describe the API; `parse_address` is stricter, and says what is wrong."""

BindAddress = Annotated[
    Address,
    BeforeValidator(parse_address),
    _AsText,
    WithJsonSchema({"type": "string", "examples": ["127.0.0.1:8080"]}),
]
"""Where a server of ours listens; port 0 picks a free one."""

ListenerAddress = Annotated[Address, BeforeValidator(parse_listener_address), _AsText, _IP_AND_PORT]
"""Where an Envoy listens for us: an IP address, ``0.0.0.0`` included, and a port."""

EndpointAddress = Annotated[
    Address,
    BeforeValidator(lambda text: _reachable(_bound_port(parse_address(text)))),
    _AsText,
    _IP_AND_PORT,
]
"""Where Envoy reaches a replica: an IP address and a port (EDS does not resolve names)."""

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

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
"""A pool's name or a replica's id: safe in a URL, a log line, a metric label and Envoy."""

Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]
"""A label's key, or a locality's part."""

LabelValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/:@+-]{0,128}$")]
"""A label's value."""

_PATH: Final = r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]{0,255}"

UrlPath = Annotated[str, StringConstraints(pattern=rf"^{_PATH}(\?[\x21\x22\x24-\x7e]{{0,255}})?$")]
"""The path of an HTTP request on a replica, with a query or without."""

PathPrefix = Annotated[str, StringConstraints(pattern=rf"^{_PATH}$")]
"""The start of a request's path; Envoy matches it without the query."""
