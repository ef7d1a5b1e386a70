"""What a user says of a pool's mutual TLS: whether there is any, and who may use the pool."""

import re
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.config.errors import SettingsError, shown
from controlplane.config.values import Settings

Mode: TypeAlias = Literal["off", "permissive", "strict"]

MAX_CLIENTS: Final = 256

_NODE: Final = re.compile(r"[A-Za-z0-9._-]*\*?", re.ASCII)
_SPIFFE: Final = re.compile(
    r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)*(/[A-Za-z0-9._-]*\*|/[A-Za-z0-9._-]+)",
    re.ASCII,
)


def _client(text: str) -> str:
    if (_SPIFFE if text.startswith("spiffe:") else _NODE).fullmatch(text) is None:
        raise ValueError(
            f'{shown(text)} is neither the id of a node, as in "search-1", nor a SPIFFE id, as in'
            ' "spiffe://example.org/node/search-1"; a * may stand at the end'
        )
    return text


Client = Annotated[str, StringConstraints(min_length=1, max_length=2048), AfterValidator(_client)]
"""The id of a node or a SPIFFE id; a ``*`` at the end stands for any further characters."""


class MeshSettings(Settings):
    """Mutual TLS between the Envoys of clients and those of replicas.

    Attributes:
        mode: ``off``: in plain text. ``permissive``: Envoys that have a certificate send with TLS
            to replicas that have an ingress. ``strict``: with TLS or not at all.
        clients: Who may use the pool; None: every node of the trust domain.
    """

    mode: Mode = "off"
    clients: tuple[Client, ...] | None = Field(default=None, strict=False, max_length=MAX_CLIENTS)

    @model_validator(mode="after")
    def _clients_are_known(self) -> Self:
        if self.clients is not None and self.mode != "strict":
            raise SettingsError(
                f"clients goes with mode: strict: in mode {self.mode} a request may come without a"
                " certificate, and nobody knows whose it is",
                ("clients",),
            )
        return self
