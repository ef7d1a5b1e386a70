"""A real Envoy and the control plane ask replicas for their health in the same words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.envoy.pools import HEALTH_CHECK, pool
from tests.processes import free_port, serving, sidecar, until


class Strict:
    """Answers as frameworks do that know their own names: 400 to any other host."""

    def __init__(self, host: str | None, status: int, **headers: str) -> None:
        self.port = free_port()
        self.host = host or f"127.0.0.1:{self.port}"
        self.status = status
        self.headers = headers
        self.seen: dict[str, set[tuple[str | None, ...]]] = {}

    async def answer(self, request: web.Request) -> web.Response:
        agent = "envoy" if "Envoy" in request.headers.get("User-Agent", "") else "control plane"
        said = (request.path, *(request.headers.get(it) for it in ("Host", *self.headers)))
        self.seen.setdefault(agent, set()).add(said)
        expected = (self.host, *self.headers.values())
        return web.Response(status=self.status if said[1:] == expected else 400)


@asynccontextmanager
async def strict(host: str | None, status: int, **headers: str) -> AsyncIterator[Strict]:
    fake = Strict(host, status, **headers)
    app = web.Application()
    app.router.add_get("/{path:.*}", fake.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", fake.port).start()
    try:
        yield fake
    finally:
        await runner.cleanup()


SAID: dict[str, Any] = {
    "path": "/ready?x=1",
    "host": "embed.example",
    "headers": {"X-Probe": "50% of it"},
    "expected_statuses": ["204-299"],
}


@pytest.mark.parametrize(
    ("check", "host", "status", "headers"),
    [({}, None, 200, {}), (SAID, "embed.example", 204, {"X-Probe": "50% of it"})],
    ids=["as it is by default", "as it is said"],
)
async def test_envoy_and_the_control_plane_ask_alike(
    tmp_path: Path, check: dict[str, Any], host: str | None, status: int, headers: dict[str, str]
) -> None:
    async with strict(host, status, **headers) as fake:
        entry = pool(
            "p",
            {"r": {"address": f"127.0.0.1:{fake.port}"}},
            health_check=HEALTH_CHECK | check,
            metrics={"profile": "none"},
        )
        async with (
            serving(tmp_path, [entry]) as plane,
            sidecar(tmp_path, plane.xds, ["p"]) as envoy,
        ):

            async def is_well() -> bool:
                return await envoy.healthy("p") == {"r"}

            await until("Envoy takes the replica for well", is_well)
            path = str(check.get("path", "/health")).partition("?")[0]
            said = {(path, fake.host, *headers.values())}
            assert fake.seen == {"envoy": said, "control plane": said}
