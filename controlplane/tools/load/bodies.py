"""A request's body: a text and a model in, the bytes that a server of some API takes out. Pure."""

import json
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

Body: TypeAlias = Callable[[str], bytes]
"""Makes the body of a text."""

Format: TypeAlias = Literal["openai", "tei"]

TEXT: Final = "{{text}}"
MODEL: Final = "{{model}}"
"""What stands in a template for the text and the model."""


def body_of(form: Format, model: str) -> Body:
    """The body of OpenAI's ``/v1/embeddings`` or of text-embeddings-inference's ``/embed``."""
    if form == "openai":
        return lambda text: json.dumps({"model": model, "input": text}).encode()
    return lambda text: json.dumps({"inputs": text}).encode()


def format_of(path: str) -> Format:
    """What a URL's path takes: a server's own ``/embed``, or OpenAI's API."""
    return "tei" if path.rstrip("/").endswith("/embed") else "openai"


def template(content: str, model: str) -> Body:
    """A body from a JSON document in whose strings ``{{text}}`` and ``{{model}}`` stand.

    Raises:
        ValueError: It is no JSON, or has no place for a text.
    """
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("is not JSON that can be read: it is nested too deeply") from None
    if not _holds_text(document):
        raise ValueError(f'has no place for a text: write "{TEXT}" where it belongs, in quotes')
    return lambda text: json.dumps(_filled(document, text, model)).encode()


def _holds_text(document: Any) -> bool:
    match document:
        case str():
            return TEXT in document
        case list():
            return any(map(_holds_text, document))
        case dict():
            return any(map(_holds_text, document.values()))
    return False


def _filled(document: Any, text: str, model: str) -> Any:
    match document:
        case str():
            # The model first: a text may hold anything, and is not looked into.
            return document.replace(MODEL, model).replace(TEXT, text)
        case list():
            return [_filled(part, text, model) for part in document]
        case dict():
            return {key: _filled(part, text, model) for key, part in document.items()}
    return document
