"""A strict reader of YAML: text in, plain data with the line of every value out.

It takes the part of YAML that means the same to everybody: mappings, lists and scalars. Aliases,
tags and duplicate keys are errors, and a plain scalar is a number, true, false or null only when
JSON would say so, so that ``NO``, ``010`` and ``1:30`` stay the text that they are.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml import events

from controlplane.settings.problems import Path, SettingsError

MAX_CHARACTERS: Final = 8_000_000
MAX_DEPTH: Final = 32

_WORDS: Final = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER: Final = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)
_FLOAT: Final = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d{1,18})?([eE][+-]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds.

    Attributes:
        data: Mappings, lists and scalars.
        lines: The line, from 1, that each path stands on.
    """

    data: Any
    lines: dict[Path, int]

    def line(self, path: Path) -> int:
        """The line of a path, or of the nearest thing above it that is in the file."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


@dataclass(slots=True)
class _Open:
    """A collection that is not closed yet."""

    path: Path
    into: dict[str, Any] | list[Any]
    key: str | None = None
    keys_seen: set[str] = field(default_factory=set)


def read_document(text: str, source: str) -> Document:
    """Parse a YAML document.

    Args:
        text: The whole of the file.
        source: Its name, for messages.

    Raises:
        SettingsError: With file and line.
    """
    if len(text) > MAX_CHARACTERS:
        raise SettingsError(f"is longer than {MAX_CHARACTERS} characters", place=source)
    try:
        return _build(text, source)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        line = mark.line + 1 if mark else 1
        raise SettingsError(f"is not YAML: {problem}", place=f"{source}:{line}") from None


def _build(text: str, source: str) -> Document:
    lines: dict[Path, int] = {}
    stack: list[_Open] = []
    root: Any = None
    documents = 0

    def fail(event: events.Event, problem: str, path: Path = ()) -> SettingsError:
        return SettingsError(problem, path, f"{source}:{_line(event)}")

    def place(event: events.Event, value: Any) -> Path:
        """Put a value where it belongs and return its path."""
        nonlocal root
        path: Path = ()
        if not stack:
            root = value
        elif isinstance(stack[-1].into, list):
            path = (*stack[-1].path, len(stack[-1].into))
            stack[-1].into.append(value)
        else:
            top = stack[-1]
            key, top.key = top.key, None
            if key is None:
                raise fail(event, "a key must be plain text", top.path)
            path = (*top.path, key)
            stack[-1].into[key] = value
        lines.setdefault(path, _line(event))
        return path

    # The pure-Python parser hands out events one by one and does not recurse, so that neither a
    # deep document nor an endless alias can cost more than its own length.
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        match event:
            case events.DocumentStartEvent():
                documents += 1
                if documents > 1:
                    raise fail(event, "a second document starts here; one file holds one")
            case events.AliasEvent():
                raise fail(event, f"alias *{event.anchor} is not supported; write the value out")
            case events.NodeEvent() if event.anchor is not None:
                raise fail(event, f"anchor &{event.anchor} is not supported; write the value out")
            case events.ScalarEvent(tag=str(tag)) | events.CollectionStartEvent(tag=str(tag)):
                raise fail(event, f"tag {tag} is not supported; write the plain value")
            case events.CollectionStartEvent():
                if len(stack) >= MAX_DEPTH:
                    raise fail(event, f"is nested deeper than {MAX_DEPTH} levels")
                into: dict[str, Any] | list[Any] = (
                    {} if isinstance(event, events.MappingStartEvent) else []
                )
                stack.append(_Open(place(event, into), into))
            case events.CollectionEndEvent():
                stack.pop()
            case events.ScalarEvent():
                top = stack[-1] if stack else None
                if top is None or isinstance(top.into, list) or top.key is not None:
                    place(event, _scalar(event))
                else:
                    _take_key(top, event, lines, source)
    return Document(root, lines)


def _take_key(top: _Open, event: events.ScalarEvent, lines: dict[Path, int], source: str) -> None:
    path, line = (*top.path, event.value), _line(event)
    if event.value in top.keys_seen:
        first = lines.get(path, line)
        raise SettingsError(
            f"key {event.value!r} is already on line {first}; keep one of them",
            top.path,
            f"{source}:{line}",
        )
    if event.value == "<<" and not event.style:
        raise SettingsError(
            "merge key << is not supported; write the keys out", top.path, f"{source}:{line}"
        )
    top.keys_seen.add(event.value)
    top.key = event.value
    lines[path] = line


def _line(event: events.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _scalar(event: events.ScalarEvent) -> Any:
    text = event.value
    if event.style:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def located(error: SettingsError, document: Document, source: str) -> SettingsError:
    """The same error with the file and line that its path stands on."""
    return SettingsError(error.problem, error.path, f"{source}:{document.line(error.path)}")
