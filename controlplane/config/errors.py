"""A failed validation as one sentence: the place, what is wrong, and what would be right."""

import difflib
import re
from collections.abc import Mapping
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


def _problem(detail: ErrorDetails, model: type[BaseModel], path: Path) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    match kind:
        case "value_error":
            return str(context["error"])
        case "extra_forbidden":
            known = _known_keys(model, path[:-1])
            near = difflib.get_close_matches(str(path[-1]), known, n=1)
            return (
                f"unknown key; did you mean {near[0]!r}?"
                if near
                else (f"unknown key; known here are {', '.join(known)}")
            )
        case "missing":
            return "is required and missing"
        case "literal_error":
            return f"{_given(detail)} is not one of {context['expected']}"
        case "string_pattern_mismatch":
            return f"{_given(detail)} must match {context['pattern']}"
        case "model_type" | "dict_type" | "model_attributes_type":
            return f"must be a mapping of keys to values, not {_given(detail)}"
        case "tuple_type" | "list_type":
            return f"must be a list, not {_given(detail)}"
        case "string_type":
            return f"must be text, not {_given(detail)}; put it in quotes"
        case "int_type" | "int_from_float":
            return f"must be a whole number, not {_given(detail)}"
        case "float_type":
            return f"must be a number, not {_given(detail)}"
        case "bool_type":
            return f"must be true or false, not {_given(detail)}"
        case "none_required":
            return f"must be null, not {_given(detail)}"
        case "invalid_key":
            return f"a key must be text, not {_given(detail)}; put it in quotes"
        case "string_unicode":
            return f"{_given(detail)} is half of a character, which is no text; write it in full"
        case _:
            return f"{_given(detail)}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"


def _given(detail: ErrorDetails) -> str:
    return shown(detail["input"])


def _known_keys(model: type[BaseModel], path: Path) -> list[str]:
    """The keys of the model at a path below `model`."""
    for part in path:
        if isinstance(part, int):
            continue
        inner = (
            _models_in(model.model_fields[part].annotation) if part in model.model_fields else []
        )
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _models_in(part)]
