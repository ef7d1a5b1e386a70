"""A strict reader of YAML: text in, plain data with the line of every value out.

Only mappings, lists and scalars are allowed. Aliases, tags and duplicate keys are errors. A plain
scalar is a number, true, false or null only where JSON says so; ``NO``, ``010``, ``1:30`` are text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml
from yaml import events

from controlplane.config.errors import ModelT, Path, SettingsError, shown, validated

MAX_CHARACTERS: Final = 8_000_000
MAX_DEPTH: Final = 32

_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_WORDS: Final = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER: Final = re.compile(r"-?(0|[1-9]\d*)", re.ASCII)
_FLOAT: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_MAX_NUMBER: Final = 400
"""Characters of a number, with every number of 64 bits below; Python takes long over thousands."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file's plain data and text, and the position in the text of each path."""

    data: Any
    text: str
    marks: dict[Path, int]

    def line(self, path: Path) -> int:
        """The line, from 1, of a path or of the nearest parent that is in the file."""
        while path not in self.marks and path:
            path = path[:-1]
        return line_at(self.text, self.marks.get(path, 0))


def line_at(text: str, index: int) -> int:
    """The line, from 1, of a position, as editors count: YAML also ends lines at U+2028."""
    return len(_LINE_END.findall(text, 0, index)) + 1


@dataclass(slots=True)
class _Open:
    """A collection that is not closed yet."""

    path: Path
    into: dict[str, Any] | list[Any]
    key: str | None = None


def read_document(text: str, source: str) -> Document:
    """Parse a YAML document; a `SettingsError` has the file's name `source`, and the line."""
    if len(text) > MAX_CHARACTERS:
        raise SettingsError(f"is longer than {MAX_CHARACTERS} characters", place=source)
    try:
        return _build(text, source)
    except yaml.reader.ReaderError as error:
        place = f"{source}:{line_at(text, error.position)}"
        character = shown(text[error.position])
        raise SettingsError(
            f"is not YAML: character {character} is not allowed in a text file; take it out",
            place=place,
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{line_at(text, mark.index if mark else 0)}"
        remedy = "; indent with spaces" if "'\\t'" in str(error.problem) else ""
        raise SettingsError(f"is not YAML: {error.problem}{remedy}", place=place) from None


def _events(text: str, source: str) -> Iterator[events.Event]:
    # The pure-Python parser yields events without recursion, so that neither a deep document nor an
    # endless alias costs more than its length.
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_event():
            yield loader.get_event()  # type: ignore[no-untyped-call] # its stub forgot it
    except (ValueError, OverflowError):
        # PyYAML converts the numbers of escapes and directives whatever their size.
        raise SettingsError(
            "is not YAML: the number in an escape or a directive is too large; write a smaller one",
            place=f"{source}:{line_at(text, loader.get_mark().index)}",
        ) from None
    finally:
        loader.dispose()


def _build(text: str, source: str) -> Document:
    marks: dict[Path, int] = {}
    stack: list[_Open] = []
    root: Any = None
    documents = 0

    def fail(event: events.Event, problem: str, path: Path = ()) -> SettingsError:
        return SettingsError(problem, path, f"{source}:{line_at(text, _index(event))}")

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
        marks.setdefault(path, _index(event))
        return path

    def take_key(top: _Open, into: dict[str, Any], event: events.ScalarEvent) -> None:
        path = (*top.path, event.value)
        if event.value in into:
            raise fail(
                event,
                f"key {shown(event.value)} is already on line {line_at(text, marks[path])};"
                " keep one of them",
                top.path,
            )
        if event.value == "<<" and not event.style:
            raise fail(event, "merge key << is not supported; write the keys out", top.path)
        top.key = event.value
        marks[path] = _index(event)

    for event in _events(text, source):
        match event:
            case events.DocumentStartEvent():
                documents += 1
                if documents > 1:
                    raise fail(event, "a second document starts here; one file holds one")
            case events.AliasEvent():
                raise fail(
                    event, f"alias {shown(event.anchor)} is not supported; write the value out"
                )
            case events.NodeEvent() if event.anchor is not None:
                raise fail(
                    event, f"anchor {shown(event.anchor)} is not supported; write the value out"
                )
            case events.ScalarEvent(tag=str(tag)) | events.CollectionStartEvent(tag=str(tag)):
                raise fail(event, f"tag {shown(tag)} is not supported; write the plain value")
            case events.CollectionStartEvent():
                if len(stack) >= MAX_DEPTH:
                    raise fail(event, f"is nested deeper than {MAX_DEPTH} levels")
                into: dict[str, Any] | list[Any] = (
                    {} if isinstance(event, events.MappingStartEvent) else []
                )
                stack.append(_Open(place(event, into), into))
            case events.CollectionEndEvent():
                stack.pop()
            case events.ScalarEvent() if _SURROGATE.search(event.value):
                raise fail(event, f"{shown(event.value)} has half of a character; write it in full")
            case events.ScalarEvent():
                top = stack[-1] if stack else None
                if top is None or isinstance(top.into, list) or top.key is not None:
                    place(event, _scalar(event))
                else:
                    take_key(top, top.into, event)
    return Document(root, text, marks)


def _index(event: events.Event) -> int:
    return event.start_mark.index if event.start_mark else 0


def _scalar(event: events.ScalarEvent) -> Any:
    text = event.value
    if event.style:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _MAX_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def load(
    model: type[ModelT], text: str, source: str, *, may_be_empty: bool = False
) -> tuple[ModelT, Document]:
    """Read a model from a YAML document; `source` is the file's name, for messages."""
    document = read_document(text, source)
    data = {} if document.data is None and may_be_empty else document.data
    if not isinstance(data, dict):
        keys = f"key{'s' * (len(model.model_fields) > 1)} {', '.join(model.model_fields)}"
        problem = f"must be a mapping with the {keys}, not {shown(data)}"
        raise SettingsError(problem, place=f"{source}:{document.line(())}")
    try:
        return validated(model, data), document
    except SettingsError as error:
        place = f"{source}:{document.line(error.path)}"
        raise SettingsError(error.problem, error.path, place) from None
