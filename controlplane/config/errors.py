"""A failed validation as one sentence: the place, what is wrong, and what would be right."""

import difflib
import re
from collections.abc import Mapping, Sequence, Sized
from operator import attrgetter
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

ModelT = TypeVar("ModelT", bound=BaseModel)
Path = tuple[str | int, ...]

MAX_SHOWN: Final = 60
"""Characters of a value that a message repeats; a value may have megabytes."""

_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,60}", re.ASCII)


class SettingsError(ValueError):
    """Something declared is wrong.

    Attributes:
        path: Keys and list positions.
        problem: What is wrong and what would be right, without the place.
        place: Such as ``plimsoll.yaml:12``; empty if unknown.
    """

    def __init__(self, problem: str, path: Path = (), place: str = "") -> None:
        self.path, self.problem, self.place = path, problem, place
        super().__init__(": ".join(part for part in (place, dotted(path), problem) if part))


def dotted(path: Path) -> str:
    """Print a path as ``pools[0].listener.address``, and a key that is no word as ``['a b']``."""
    text = "".join(
        f".{part}" if isinstance(part, str) and _PLAIN_KEY.fullmatch(part) else f"[{shown(part)}]"
        for part in path
    )
    return text.removeprefix(".")


def shown(value: object) -> str:
    """Print a value for a message: short, on one line, in characters that print."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value if len(value) <= MAX_SHOWN else f"{value[: MAX_SHOWN - 3]}...")
        case int():
            # Python refuses to print the digits of a number of thousands of them.
            return str(value) if abs(value) < 10**MAX_SHOWN else "a number of too many digits"
        case float():
            return repr(value)
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return f"a Python {type(value).__name__}"


def validated(model: type[ModelT], data: Mapping[str, Any]) -> ModelT:
    """Build a model from plain data; a `SettingsError` names the first error."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # An unknown key is most often the misspelt name of a key that is then missing.
        first = min(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
        path: Path = first["loc"]
        match first:
            case {"type": "value_error", "ctx": {"error": SettingsError() as inner}}:
                # An error from a model's own check has the path below that model.
                raise SettingsError(inner.problem, path + inner.path) from None
            case {"type": "extra_forbidden"}:
                pass
            case _ if path and path[-1] == "[key]":  # pydantic's word for "the key itself"
                path = path[:-1]
        raise SettingsError(_problem(first, model, path), path) from None


_SENTENCES: Final = {
    "value_error": "{error}",
    "missing": "is required and missing",
    **dict.fromkeys(("literal_error", "enum"), "{given} is not one of {expected}"),
    "string_pattern_mismatch": "{given} must match {pattern}",
    **dict.fromkeys(
        ("model_type", "dict_type", "model_attributes_type"),
        "must be a mapping of keys to values, not {given}",
    ),
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list, not {given}"),
    "string_type": "must be text, not {given}; put it in quotes",
    **dict.fromkeys(("int_type", "int_from_float"), "must be a whole number, not {given}"),
    "float_type": "must be a number, not {given}",
    "finite_number": "must be a finite number, not {given}",
    "greater_than": "must be more than {gt}, not {given}",
    "greater_than_equal": "must be at least {ge}, not {given}",
    "less_than": "must be less than {lt}, not {given}",
    "less_than_equal": "must be at most {le}, not {given}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters, not {length}",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries, not {length}",
    "bool_type": "must be true or false, not {given}",
    "none_required": "must be null, not {given}",
    "invalid_key": "a key must be text, not {given}; put it in quotes",
    "string_unicode": "{given} is half of a character, which is no text; write it in full",
}
"""By pydantic's kind of error."""


def _problem(detail: ErrorDetails, model: type[BaseModel], path: Path) -> str:
    if detail["type"] == "extra_forbidden":
        known = _known_keys(model, path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here are {', '.join(known)}"
        return f"unknown key; {hint}"
    given = detail["input"]
    length = len(given) if isinstance(given, Sized) else 0
    sentence = _SENTENCES.get(detail["type"], "{given} is not valid here")
    return sentence.format(given=shown(given), length=length, **detail.get("ctx", {}))


def check_distinct(what: str, items: Sequence[object], keys: Sequence[str]) -> None:
    """Check that no two items, such as ``pools``, have the same value of any of the keys.

    An address of one may be no other's, whichever key has it.
    """
    seen = set[object]()
    for key in keys:
        for index, item in enumerate(items):
            value = attrgetter(key)(item)
            if value is not None and value in seen:
                raise SettingsError(
                    f"two {what} have the {key.replace('.', ' ')} {value}; each needs its own",
                    (what, index, *key.split(".")),
                )
            seen.add(value)


def _known_keys(model: type[BaseModel], path: Path) -> list[str]:
    """The keys of the model at a path below `model`."""
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        if field is None or not (inner := _models_in(field.annotation)):
            return []
        model = inner[0]
    return list(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _models_in(part)]
