"""The OpenAPI document of this version, where nothing is served."""

from typing import Any, NoReturn

from controlplane.api.openapi import document
from controlplane.api.server import RestServer
from controlplane.fleet import AuditLog
from controlplane.plane import Plane
from controlplane.settings import AdminSettings


def described() -> dict[str, Any]:
    """The same document that a control plane of this version serves."""
    server = RestServer(
        AdminSettings(),
        Plane(0.0),
        carry_out=_never,
        nodes=tuple,
        audit=AuditLog(),
        ready=lambda: False,
        metrics=_never,
    )
    return document(server.operations)


async def _never(*_: object) -> NoReturn:
    raise AssertionError("nothing is served")
