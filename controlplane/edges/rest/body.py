"""A strict reader of JSON (RFC 8259): bytes in, plain data that means the same to everybody out.

Python's reader takes more than JSON: NaN, duplicate keys of which the last one counts, lone
surrogates that nothing can encode, integers that take seconds to parse. Here each is an error.
"""

import json
import math
from typing import Any, Final, NoReturn

MAX_BYTES: Final = 1 << 20
"""Longer bodies are refused; a pool with every key set has 2 kB."""

_MAX_DIGITS: Final = 18
"""Of an integer; more than that are no amount of anything here."""


class JsonError(ValueError):
    """Bytes that are not JSON as it is taken here; the message is a sentence."""


def read_json(data: bytes) -> Any:
    """Parse a JSON document.

    Args:
        data: The whole of it, UTF-8 without a byte order mark.

    Raises:
        JsonError: Whatever is wrong; no other error escapes.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError(f"the body is not UTF-8 at byte {error.start}") from None
    if not text.strip(" \t\n\r"):
        raise JsonError("the body is empty, where JSON is expected")
    if text.startswith("\ufeff"):
        raise JsonError("the body begins with a byte order mark; leave it out")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_integer,
        )
        _check(value)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise JsonError(f"the body is not JSON: {_lowered(error.msg)} at {at}") from None
    except RecursionError:
        raise JsonError("the body is nested too deeply") from None
    return value


def _check(value: Any) -> None:
    """Look at every text of a value."""
    match value:
        case str():
            _check_text(value)
        case list():
            for item in value:
                _check(item)
        case dict():
            for item in value.values():
                _check(item)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        _check_text(key)
        if key in found:
            raise JsonError(f"key {_shown(key)} stands twice in one object; keep one of them")
        found[key] = value
    return found


def _check_text(text: str) -> None:
    if "\0" in text:
        raise JsonError(f"{_shown(text)} contains a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise JsonError(f"{_shown(text)} contains half of a surrogate pair")


def _constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is not a JSON number")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JsonError(f"the number {_shown(text)} is too large")
    return value


def _integer(text: str) -> int:
    if len(text.removeprefix("-")) > _MAX_DIGITS:
        raise JsonError(f"the number {_shown(text)} has more than {_MAX_DIGITS} digits")
    return int(text)


def _shown(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
