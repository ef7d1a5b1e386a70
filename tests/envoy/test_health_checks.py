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
        self.refused: str | None = None
        self.seen: dict[str, set[tuple[str | None, ...]]] = {}

    async def answer(self, request: web.Request) -> web.Response:
        agent = "envoy" if "Envoy" in request.headers.get("User-Agent", "") else "control plane"
        said = (request.path, *(request.headers.get(item) for item in ("Host", *self.headers)))
        self.seen.setdefault(agent, set()).add(said)
        expected = (self.host, *self.headers.values())
        is_well = said[1:] == expected and agent != self.refused
        return web.Response(status=self.status if is_well else 400)


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


async def test_where_envoy_sees_another_health_than_the_control_plane_all_say_so(
    tmp_path: Path,
) -> None:
    async with strict(None, 200) as fake:
        entry = pool(
            "p",
            {"r": {"address": f"127.0.0.1:{fake.port}"}},
            health_check=HEALTH_CHECK,
            metrics={"profile": "none"},
        )
        async with (
            serving(tmp_path, [entry]) as plane,
            sidecar(tmp_path, plane.xds, ["p"]) as envoy,
        ):

            async def disagrees() -> Any:
                (node,) = (await plane.get("/v1/nodes"))["nodes"]
                why = (await plane.get("/v1/pools/p/replicas/r"))["why"]
                told = [item for item in why if "disagree about its health" in item]
                (line,) = [
                    each
                    for each in (await plane.text("/metrics")).splitlines()
                    if each.startswith("plimsoll_pool_health_disputed{")
                ]
                return node["disagrees"], told, line.rpartition(" ")[2]

            async def is_well() -> bool:
                return await envoy.healthy("p") == {"r"}

            await until("Envoy takes the replica for well", is_well)
            # It may have asked before there was an answer.
            errors = await envoy.stat("hds_delegate.errors")
            fake.refused = "envoy"

            async def is_said() -> bool:
                return bool((await disagrees())[0])

            await until("the API says that Envoy sees it otherwise", is_said)
            (dispute,), (sentence,), count = await disagrees()
            assert (dispute["pool"], dispute["replica"], dispute["sees"]) == ("p", "r", "unhealthy")
            assert "ready to the control plane, unhealthy at sidecar, for" in sentence
            assert float(count) == 1
            assert await envoy.healthy("p") == set()
            fake.refused = None

            async def is_over() -> bool:
                found, told, count = await disagrees()
                return not found and not told and float(count) == 0

            await until("nobody says so any more", is_over)
            assert await envoy.stat("hds_delegate.errors") == errors
