"""The OpenAPI 3.1 document: generated from the table of operations and from its models."""

import inspect
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import (
    GenerateJsonSchema,
    JsonSchemaMode,
    JsonSchemaValue,
    models_json_schema,
)
from pydantic_core import core_schema

from controlplane import __version__
from controlplane.api import schema
from controlplane.api.schema.operations import (
    IF_MATCH,
    IF_NONE_MATCH,
    LAST_EVENT_ID,
    OPERATIONS,
    Operation,
)

_NAME: Final = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"}
_TAGS: Final = {"type": "string", "pattern": r'^(\*|"[\x21\x23-\x7e]*"(, "[\x21\x23-\x7e]*")*)$'}

_IN_PATH: Final = {"pool": "The pool's name.", "replica": "The replica's id in its pool."}

_HEADERS: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    IF_MATCH: (_TAGS, "Change it only if its ETag is still one of these; `*`: if it is there."),
    IF_NONE_MATCH: (_TAGS, "`*`: only if it is not there yet."),
    LAST_EVENT_ID: ({"type": "string"}, "The id of the last event that was received."),
}

_ETAG: Final = {
    "schema": {"type": "string"},
    "description": "For If-Match; a dry run has none.",
}

_EVENTS: Final = (
    *(schema.PoolEvent, schema.ReplicaEvent, schema.PartingEvent, schema.NodeEvent),
    schema.MissedEvent,
)

_References: TypeAlias = Mapping[tuple[Any, JsonSchemaMode], JsonSchemaValue]


def document() -> dict[str, Any]:
    """Describe the API of this version; no server is needed."""
    used: set[tuple[type[BaseModel], JsonSchemaMode]] = {
        (model, "serialization") for model in (schema.ErrorDocument, schema.Preview, *_EVENTS)
    }
    for operation in OPERATIONS:
        if operation.body is not None:
            used.add((operation.body, "validation"))
        used.update(
            (model, "serialization") for model in operation.answers.values() if model is not None
        )
    references, definitions = models_json_schema(
        sorted(used, key=lambda each: (each[0].__name__, each[1])),
        ref_template="#/components/schemas/{model}",
        schema_generator=_Schemas,
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        described = _operation(operation, references)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
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
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token has a role: read, register or operate.",
                }
            },
        },
    }


class _Schemas(GenerateJsonSchema):
    """Describes each property by its model's docstring."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's name
        """Leave out titles: they only repeat names."""
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        settings = getattr(schema["cls"], "settings_model", None)
        inner: Any = schema if settings is None else settings.__pydantic_core_schema__
        while inner["type"] != "model":  # Validators and shared definitions surround it.
            for shared in inner.get("definitions", ()):
                self.generate_inner(shared)
            inner = inner["schema"]
        described = super().model_schema(inner)
        described.pop("title", None)
        words = _attributes(inner["cls"])
        summary = inspect.getdoc(schema["cls"]) or ""
        described["description"] = " ".join(summary.split("\n\nAttributes:")[0].split())
        defaults = _defaults(inner["cls"])
        for key, property_ in described.get("properties", {}).items():
            if "default" in property_:
                property_["default"] = defaults[key]
            if text := property_.get("description") or words.get(key):
                # The docstrings are Python's, the document is about JSON.
                property_["description"] = re.sub(r"\bNone\b", "null", text)
        return described


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    """Return the defaults of a model as a client writes them: `60s`, where the value is 60.0."""
    known = {
        key: field.default
        for key, field in model.model_fields.items()
        if not field.is_required() and field.default_factory is None
    }
    return model.model_construct(**known).model_dump(mode="json", include=set(known))


def _attributes(model: type[Any]) -> dict[str, str]:
    """The section ``Attributes`` of the docstrings of a model and its bases."""
    words: dict[str, str] = {}
    for base in reversed(model.__mro__):
        doc = inspect.cleandoc(base.__doc__ or "")
        section = doc.partition("\nAttributes:\n")[2].partition("\n\n")[0]
        for item in re.split(r"\n(?=    \w)", "\n" + section):
            name, colon, text = item.strip().partition(":")
            if colon and name.isidentifier():
                words[name] = " ".join(text.split())
    return words


def _operation(operation: Operation, references: _References) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": operation.description,
        "x-role": "nobody" if operation.role is None else operation.role.value,
        "parameters": [
            *(
                _parameter(name, "path", _NAME, _IN_PATH[name]) | {"required": True}
                for name in re.findall(r"{(\w+)}", operation.path)
            ),
            *_in_query(operation.query),
            *(_parameter(name, "header", *_HEADERS[name]) for name in operation.headers),
        ],
        "responses": _responses(operation, references),
    }
    if operation.role is None:
        described["security"] = []
    if operation.body is not None:
        content: dict[str, Any] = {"schema": references[operation.body, "validation"]}
        if operation.example is not None:
            content["example"] = operation.example
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    return described


def _parameter(name: str, place: str, schema: Any, words: str) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": schema, "description": words}


def _in_query(model: type[schema.Query]) -> list[dict[str, Any]]:
    properties = model.model_json_schema(schema_generator=_Schemas).get("properties", {})
    found = []
    for name, known in properties.items():
        # A query cannot say null: the parameter is left out instead.
        options = [option for option in known.get("anyOf", (known,)) if option != {"type": "null"}]
        schema = {
            key: value
            for key, value in options[0].items()
            if key != "description" and (key != "default" or value)
        }
        found.append(_parameter(name, "query", schema, known.get("description", "")))
    return found


def _responses(operation: Operation, references: _References) -> dict[str, Any]:
    def content(media: str, *models: type[BaseModel] | None) -> dict[str, Any]:
        schemas = [
            {"type": "string"} if model is None else references[model, "serialization"]
            for model in models
        ]
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        return {"content": {media: {"schema": schema}}}

    responses: dict[str, Any] = {}
    for status, model in operation.answers.items():
        response: dict[str, Any] = {"description": status.phrase}
        is_ok = status is HTTPStatus.OK
        if status is not HTTPStatus.NO_CONTENT:
            models = (schema.Preview, model) if is_ok and operation.has_preview else (model,)
            response |= content(operation.media, *models)
        if model is not None and operation.has_etag:
            response["headers"] = {"ETag": _ETAG}
        responses[str(status.value)] = response
    if operation.has_preview and HTTPStatus.OK not in operation.answers:
        dry = content("application/json", schema.Preview)
        responses["200"] = {"description": "Of a dry run", **dry}
    problem = content("application/problem+json", schema.ErrorDocument)
    for status in sorted(operation.errors):
        responses.setdefault(str(status.value), {"description": status.phrase, **problem})
    return responses
