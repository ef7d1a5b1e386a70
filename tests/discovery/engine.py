"""A container engine on a real unix socket that speaks the documented API, as far as it is used.

https://docs.docker.com/reference/api/engine/ (v1.41 and later): ``GET /containers/json``,
``GET /containers/{id}/json``, ``GET /events``.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web


class Engine:
    """Its containers, and how it fails.

    Attributes:
        containers: By id, as inspected.
        listings: How often they were listed.
        status: Of every answer that is not an event.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.containers: dict[str, dict[str, Any]] = {}
        self.listings = 0
        self.status = 200
        self._watchers: set[web.StreamResponse] = set()
        self._stopped = asyncio.Event()

    def run(self, name: str, address: str = "172.17.0.2", /, **labels: str) -> dict[str, Any]:
        """A container that runs; labels as ``port="80"`` for ``plimsoll.port=80``."""
        id_ = (name.encode().hex() + "0" * 64)[:64]
        given = {f"plimsoll.{key}": value for key, value in labels.items()}
        self.containers[id_] = {
            "Id": id_,
            "Name": f"/{name}",
            "State": {"Status": "running", "StartedAt": "2026-01-01T00:00:00.123456789Z"},
            "Config": {"Labels": {"plimsoll.pool": "m", **given}, "ExposedPorts": {"8080/tcp": {}}},
            "NetworkSettings": {
                "Networks": {"bridge": {"IPAddress": address, "GlobalIPv6Address": ""}}
            },
        }
        return self.containers[id_]

    async def emit(self, action: str) -> None:
        """Tell who watches that something has happened."""
        line = json.dumps({"Type": "container", "Action": action}).encode() + b"\n"
        for watcher in self._watchers:
            await watcher.write(line)

    @property
    def watched(self) -> int:
        """How many watch its events."""
        return len(self._watchers)

    async def list(self, request: web.Request) -> web.Response:
        """In short, filtered by label and status."""
        self.listings += 1
        filters = json.loads(request.query["filters"])
        (key, _, value), states = filters["label"][0].partition("="), filters["status"]
        found = [
            {"Id": container["Id"], "Names": [container["Name"]]}
            for container in self.containers.values()
            if key in container["Config"]["Labels"]
            and value in ("", container["Config"]["Labels"][key])
            and container["State"]["Status"] in states
        ]
        return web.json_response(found, status=self.status)

    async def inspect(self, request: web.Request) -> web.Response:
        """One container."""
        found = self.containers.get(request.match_info["id"])
        if found is None or found.get("is gone"):
            return web.json_response({"message": "No such container"}, status=404)
        if found.get("exits"):
            found["State"]["Status"] = "exited"
        return web.json_response(found)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """One JSON object a line, until the engine stops."""
        assert "die" in json.loads(request.query["filters"])["event"]
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self._watchers.add(response)
        try:
            await self._stopped.wait()
        finally:
            self._watchers.discard(response)
        return response

    def stop(self) -> None:
        """End the streams of events."""
        self._stopped.set()


@asynccontextmanager
async def engine(path: Path) -> AsyncIterator[Engine]:
    """Run one at a socket until the context closes."""
    running = Engine(path)
    app = web.Application()
    app.add_routes(
        [
            web.get("/containers/json", running.list),
            web.get("/containers/{id}/json", running.inspect),
            web.get("/events", running.events),
        ]
    )
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield running
    finally:
        running.stop()
        await runner.cleanup()
