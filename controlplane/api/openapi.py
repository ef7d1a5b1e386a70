"""The OpenAPI 3.1 document: made of the table that routes and of the models that validate."""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from controlplane import __version__
from controlplane.api.etags import IF_MATCH, IF_NONE_MATCH
from controlplane.api.general_answers import ProblemView
from controlplane.api.operations import LAST_EVENT_ID, Operation
from controlplane.api.query import Query

_NAME: Final = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"}
_TAGS: Final = r'^(\*|"[\x21\x23-\x7e]*"(, "[\x21\x23-\x7e]*")*)$'

_PATH_WORDS: Final = {"pool": "The pool's name.", "replica": "The replica's id in its pool."}

_HEADERS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    IF_MATCH: (
        {"type": "string", "pattern": _TAGS},
        "Only if it still is as its ETag says; `*`: if it is there.",
    ),
    IF_NONE_MATCH: (
        {"type": "string", "pattern": _TAGS},
        "`*`: only if it is not there yet.",
    ),
    LAST_EVENT_ID: ({"type": "string"}, "The id of the last event that was received."),
}

_ETAG: Final = {
    "schema": {"type": "string"},
    "description": "For If-Match; a dry run has none.",
}

_ALWAYS: Final = (HTTPStatus.BAD_REQUEST,)
_WITH_BODY: Final = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
_WITH_TOKEN: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)

_Models: TypeAlias = Mapping[tuple[Any, JsonSchemaMode], dict[str, Any]]


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Describe the endpoints.

    Args:
        operations: All of them.
    """
    references, definitions = models_json_schema(
        sorted(_used(operations), key=lambda used: (used[0].__name__, used[1])),
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        described = _operation(operation, references)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    schemas = definitions["$defs"]
    _describe({model for model, _ in _used(operations)}, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Plimsoll",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "The REST API of the control plane. Errors are problem documents"
            " (RFC 9457). A token is needed when the control plane has any.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Of a role: read, register or operate.",
                }
            },
        },
    }


def _used(operations: Iterable[Operation]) -> set[tuple[type[BaseModel], JsonSchemaMode]]:
    used: set[tuple[type[BaseModel], JsonSchemaMode]] = {(ProblemView, "serialization")}
    for operation in operations:
        if operation.body is not None:
            used.add((operation.body, "validation"))
        shown = (*operation.answers.values(), operation.previews)
        used.update((model, "serialization") for model in shown if model is not None)
    return used


def _operation(operation: Operation, references: _Models) -> dict[str, Any]:
    text = inspect.getdoc(operation.handle) or ""
    role = "nobody" if operation.role is None else operation.role.value
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": text.replace("\n\n", "\n").strip(),
        "x-role": role,
        "parameters": [*_in_path(operation.path), *_in_query(operation.query)],
        "responses": _responses(operation, references),
    }
    described["parameters"] += [
        {"name": name, "in": "header", "schema": schema, "description": words}
        for name in operation.headers
        for schema, words in (_HEADERS[name],)
    ]
    if operation.role is None:
        described["security"] = []
    if operation.body is not None:
        content: dict[str, Any] = {"schema": references[operation.body, "validation"]}
        if operation.example is not None:
            content["example"] = operation.example
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    return described


def _in_path(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _NAME,
            "description": _PATH_WORDS[name],
        }
        for name in re.findall(r"{(\w+)}", path)
    ]


def _in_query(model: type[Query]) -> list[dict[str, Any]]:
    properties = model.model_json_schema().get("properties", {})
    found = []
    for name, known in properties.items():
        # Absent is not null here: there is no way to write it.
        options = [it for it in known.get("anyOf", (known,)) if it != {"type": "null"}]
        schema = {
            key: value
            for key, value in options[0].items()
            if key not in ("title", "description") and (key != "default" or value)
        }
        words = known.get("description", "")
        found.append({"name": name, "in": "query", "schema": schema, "description": words})
    return found


def _responses(operation: Operation, references: _Models) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, model in operation.answers.items():
        response: dict[str, Any] = {"description": status.phrase}
        responses[str(status.value)] = response
        if model is not None:
            schemas = [references[model, "serialization"]]
            if status is HTTPStatus.OK and operation.previews is not None:
                schemas.insert(0, references[operation.previews, "serialization"])
            schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
            response["content"] = {operation.media: {"schema": schema}}
            if _is_tagged(operation):
                response["headers"] = {"ETag": _ETAG}
        elif status is not HTTPStatus.NO_CONTENT:
            response["content"] = {operation.media: {"schema": {"type": "string"}}}
    if operation.previews is not None and HTTPStatus.OK not in operation.answers:
        schema = references[operation.previews, "serialization"]
        responses["200"] = {
            "description": "Of a dry run",
            "content": {"application/json": {"schema": schema}},
        }
    problem = {
        "content": {
            "application/problem+json": {"schema": references[ProblemView, "serialization"]}
        }
    }
    for status in sorted(
        {
            *_ALWAYS,
            *(_WITH_BODY if operation.body is not None else ()),
            *(_WITH_TOKEN if operation.role is not None else ()),
            *operation.problems,
        }
    ):
        responses.setdefault(str(status.value), {"description": status.phrase, **problem})
    return responses


def _is_tagged(operation: Operation) -> bool:
    return operation.id in ("getPool", "getReplica") or bool(operation.headers)


def _describe(models: Iterable[type[BaseModel]], schemas: dict[str, Any]) -> None:
    """Add to properties what the docstrings of the models say of them."""
    known: dict[str, type[BaseModel]] = {}
    for model in models:
        _collect(model, known)
    for name, schema in schemas.items():
        plain = re.sub(r"-(Input|Output)$", "", name)
        if plain not in known:
            continue
        model = known[plain]
        words = _attributes(model)
        schema["description"] = _first_sentences(model)
        schema.pop("title", None)
        for key, property_ in schema.get("properties", {}).items():
            property_.pop("title", None)
            if key in words:
                # The docstrings are Python's, the document is about JSON.
                in_json = re.sub(r"\bNone\b", "null", words[key])
                property_.setdefault("description", in_json)


def _collect(model: type[BaseModel], known: dict[str, type[BaseModel]]) -> None:
    if model.__name__ in known:
        return
    known[model.__name__] = model
    for field in model.model_fields.values():
        for inner in _models_in(field.annotation):
            _collect(inner, known)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [it for part in getattr(annotation, "__args__", ()) for it in _models_in(part)]


def _first_sentences(model: type[BaseModel]) -> str:
    return " ".join((inspect.getdoc(model) or "").split("\n\nAttributes:")[0].split())


def _attributes(model: type[BaseModel]) -> dict[str, str]:
    """The section ``Attributes`` of the docstrings of a model and its bases."""
    words: dict[str, str] = {}
    for base in reversed(model.__mro__):
        text = inspect.cleandoc(base.__doc__ or "")
        section = text.partition("\nAttributes:\n")[2].partition("\n\n")[0]
        for item in re.split(r"\n(?=    \w)", "\n" + section):
            name, colon, said = item.strip().partition(":")
            if colon and name.isidentifier():
                words[name] = " ".join(said.split())
    return words
