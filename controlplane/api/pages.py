"""The OpenAPI document, the page for operators at ``/``, and the reference at ``/docs``.

The page is the files of the folder ``page``, served as they are. It loads nothing from elsewhere
and asks the API with a token that stays in its tab. The reference is made of the OpenAPI document.
"""

import json
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from controlplane.api.auth import PAGE_FILES
from controlplane.api.openapi import document
from controlplane.api.schema.operations import OPENAPI

_PAGE: Final = Path(__file__).with_name("page")

_KINDS: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Content-Security-Policy: only the page's own files are loaded, and no text becomes markup."""

REFERENCE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --accent: #2b6cb0 }
@media (prefers-color-scheme: dark) { :root { --accent: #7ab8ff } }
* { box-sizing: border-box }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif }
.page { display: grid; grid-template-columns: 17rem minmax(0, 1fr); max-width: 80rem; margin: auto }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; padding: 1.5rem 1rem }
nav a { display: block; padding: .15rem .4rem; color: inherit; text-decoration: none }
nav a:hover, nav a:focus { background: var(--soft) }
main { padding: 1.5rem; border-left: 1px solid var(--line) }
section { padding: 1rem 0; border-bottom: 1px solid var(--line) }
h1 { margin: 0 }
h2 { font-size: 1.1rem; margin: 0 0 .3rem }
h3 { font-size: .9rem; margin: 1rem 0 0 }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere }
.verb { display: inline-block; min-width: 4.2rem; font-weight: 700; color: var(--accent) }
table { border-collapse: collapse; width: 100% }
td { border-top: 1px solid var(--line); padding: .3rem .6rem .3rem 0; vertical-align: top }
td:first-child { white-space: nowrap }
a { color: var(--accent) } .soft { opacity: .7 }
@media (max-width: 50rem) { .page { display: block } nav { position: static; height: auto } }
"""

_LIMITS: Final = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
}


@cache  # They are the same in every server; to describe the API takes a tenth of a second.
def routes() -> tuple[web.RouteDef, ...]:
    """Serve the OpenAPI document and the two pages."""
    described = document()
    text = json.dumps(described, indent=2) + "\n"
    return (
        _serve(OPENAPI.path, text, "application/json"),
        _serve("/docs", reference(described), "text/html", REFERENCE_POLICY),
        _serve("/", (_PAGE / "index.html").read_text(encoding="utf-8"), "text/html", PAGE_POLICY),
        *(
            _serve(f"/{PAGE_FILES}{name}", path.read_text(encoding="utf-8"), _KINDS[path.suffix])
            for name, path in page_files().items()
        ),
    )


def page_files() -> dict[str, Path]:
    """Find the files that the page loads, by their path below `PAGE_FILES`."""
    found = sorted(path for path in _PAGE.rglob("*") if path.suffix in _KINDS)
    return {path.relative_to(_PAGE).as_posix(): path for path in found if path.suffix != ".html"}


def _serve(path: str, text: str, kind: str, policy: str | None = None) -> web.RouteDef:
    """Serve a text; a browser caches it, and asks each time whether it has changed."""
    body = text.encode()
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    headers |= {} if policy is None else {"Content-Security-Policy": policy}
    tag = sha256(body).hexdigest()[:32]

    async def handle(request: web.Request) -> web.Response:
        known = request.if_none_match or ()
        is_known = any(each.value == tag for each in known)
        status = HTTPStatus.NOT_MODIFIED if is_known else HTTPStatus.OK
        answer = web.Response(status=status, body=b"" if is_known else body, headers=headers)
        answer.content_type, answer.charset, answer.etag = kind, "utf-8", tag
        return answer

    return web.get(path, handle)


def reference(described: dict[str, Any]) -> str:
    """Build the reference page from the OpenAPI document."""
    operations = [
        (method.upper(), path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = described["components"]["schemas"]
    info = described["info"]
    return "".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>",
            '<div class="page"><nav aria-label="Contents">',
            *(_link(method, operation) for method, _, operation in operations),
            "<p>Types</p>",
            *(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in sorted(schemas)),
            f"</nav><main><h1>{escape(info['title'])} API</h1>",
            f'<p class="soft">{escape(info["version"])}, <a href="openapi.json">OpenAPI</a></p>',
            f"<p>{_text(info['description'])}</p>",
            *(_operation(*each) for each in operations),
            *(_schema(name, schemas[name]) for name in sorted(schemas)),
            "</main></div></body></html>\n",
        )
    )


def _link(method: str, operation: dict[str, Any]) -> str:
    id_, summary = operation["operationId"], operation["summary"]
    return f'<a href="#{id_}" title="{method}">{escape(summary)}</a>'


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    role = operation["x-role"]
    needs = "Needs no token." if role == "nobody" else f"Needs the role <b>{role}</b>."
    parts = [
        f'<section id="{operation["operationId"]}"><h2>{escape(operation["summary"])}</h2>',
        f'<p><code><span class="verb">{method}</span> {escape(path)}</code></p>',
        f'<p>{_text(operation["description"])} <span class="soft">{needs}</span></p>',
    ]
    if operation["parameters"]:
        parts.append("<h3>Parameters</h3>")
        parts.append(
            _table(
                (f"{each['name']} <span class='soft'>{each['in']}</span>", each["schema"], each)
                for each in operation["parameters"]
            )
        )
    if body := operation.get("requestBody"):
        schema = body["content"]["application/json"]["schema"]
        parts.append(f"<h3>Body</h3><p>{_type(schema)}</p>")
    parts.append("<h3>Answers</h3><table>")
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        shown = ", ".join(_type(media["schema"]) for media in content.values())
        parts.append(
            f"<tr><td><b>{status}</b> {escape(response['description'])}</td><td>{shown}</td></tr>"
        )
    return "".join((*parts, "</table></section>"))


def _schema(name: str, schema: dict[str, Any]) -> str:
    words = _text(schema.get("description", ""))
    required = schema.get("required", ())
    rows = (
        (f"{key}{'' if key in required else ' <span class=soft>optional</span>'}", field, field)
        for key, field in schema.get("properties", {}).items()
    )
    head = f'<section id="{escape(name)}"><h2>{escape(name)}</h2><p>{words}</p>'
    return f"{head}{_table(rows)}</section>"


def _table(rows: Iterable[tuple[str, dict[str, Any], dict[str, Any]]]) -> str:
    lines = (
        f"<tr><td><code>{name}</code></td><td>{_type(schema)}</td>"
        f"<td>{_text(described.get('description', ''))}{_default(schema)}</td></tr>"
        for name, schema, described in rows
    )
    return f"<table>{''.join(lines)}</table>"


def _type(schema: dict[str, Any]) -> str:
    """Write the type of a schema, with links to named types."""
    if reference := schema.get("$ref"):
        name = escape(str(reference).rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for key in ("anyOf", "allOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_type(option) for option in schema[key]))
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(inner := schema.get("additionalProperties"), dict):
        return f"object of {_type(inner)}"
    words = [f"{sign} {schema[key]}" for key, sign in _LIMITS.items() if key in schema]
    if examples := schema.get("examples"):
        words.append(f"such as <code>{escape(str(examples[0]))}</code>")
    return " ".join((kind, *words))


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    if default is None or default in ({}, []):
        return ""
    return f' <span class="soft">Default: <code>{escape(str(default))}</code>.</span>'


def _text(text: str) -> str:
    """Escape a text; what stands in backquotes becomes code."""
    parts = escape(text.replace("``", "`")).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
