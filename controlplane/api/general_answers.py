"""The shape of the answers that are about no pool, and of errors, for the OpenAPI document."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from controlplane.api.answers import Answer


class NodeList(Answer):
    """The connected Envoys."""

    nodes: list[dict[str, Any]]


class EntryView(Answer):
    """One change of what is declared."""

    number: int
    at: str
    """UTC, as RFC 3339 has it."""
    who: str
    """The token's name, `loopback`, `config file`, `discovery` or `control plane`."""
    change: Literal["added", "changed", "removed"]
    pool: str
    replica: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditView(Answer):
    """The newest entries of the audit log, the newest first."""

    entries: list[EntryView]
    next: int | None
    """For `before`; null where there are no older ones."""


class Live(Answer):
    """It answers."""

    live: bool


class Ready(Answer):
    """Whether Envoys are served."""

    ready: bool


class ProblemView(BaseModel):
    """An error (RFC 9457)."""

    # What does not apply is left out.
    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    type: str
    title: str
    status: int
    detail: str
    """One sentence: what is wrong and what would be right."""
    pointer: str = ""
    """JSON pointer to the part of the body that is wrong."""
    parameter: str = ""
    """The parameter of the query, or the header, that is wrong."""
