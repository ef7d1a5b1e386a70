"""A real API server on loopback with a plane whose clock the test sets, and a real client."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from controlplane.api.changes import Check
from controlplane.api.server import Limits, RestServer
from controlplane.ca.issuing import Issuer
from controlplane.config import Address, AdminSettings, Token
from controlplane.fleet import AuditLog, Command
from controlplane.identity import Credentials
from controlplane.metrics import OwnMetrics
from controlplane.plane import Plane, Target
from controlplane.xds import NodeStatus

POOL = {"model": "minilm", "listener": {"address": "127.0.0.1:10000"}}
REPLICA = {"address": "127.0.0.1:9001"}
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    content_type: str
    headers: Mapping[str, str]
    body: Any

    @property
    def detail(self) -> str:
        assert self.content_type == "application/problem+json"
        assert self.body["status"] == self.status
        return str(self.body["detail"])


@dataclass
class Served:
    """A running server and what it was given."""

    plane: Plane
    address: Address = field(init=False)
    session: aiohttp.ClientSession = field(init=False)
    server: RestServer = field(init=False)
    now: float = 100.0
    is_ready: bool = True
    changes: int = 0
    # What a change waits for before it is carried out; a disk, say.
    held: asyncio.Event | None = None
    waiting: int = 0
    audit: AuditLog = field(default_factory=AuditLog)
    nodes: list[NodeStatus] = field(default_factory=list)

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        url = URL(f"http://{self.address}{path}", encoded=True)
        async with self.session.request(method, url, **options) as response:
            text = await response.text()
            body = json.loads(text) if text and "json" in response.content_type else text or None
            return Answer(response.status, response.content_type, response.headers, body)

    async def send(self, path: str, body: bytes, **headers: str) -> Answer:
        return await self.ask("PUT", path, data=body, headers=headers or JSON)

    async def raw(self, request: bytes) -> bytes:
        """Send bytes and read until the server closes the connection."""
        reader, writer = await asyncio.open_connection(self.address.host, self.address.port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer

    async def filled(self) -> "Served":
        """With pool m and replicas a and b."""
        await self.ask("PUT", "/v1/pools/m", json=POOL)
        for id_, port in (("a", 9001), ("b", 9002)):
            body = {"address": f"127.0.0.1:{port}"}
            await self.ask("PUT", f"/v1/pools/m/replicas/{id_}", json=body)
        self.changes = 0
        return self

    @property
    def connections(self) -> int:
        """That are open."""
        runner = self.server._runner
        assert runner is not None
        assert runner.server is not None
        return len(runner.server.connections)

    def target(self, id_: str) -> Target:
        return next(item for item in self.plane.targets() if item.replica.id == id_)

    async def carry_out(self, command: Command, now: float, check: Check, who: str) -> None:
        if self.held is not None:
            self.waiting += 1
            await self.held.wait()
        check(self.plane.fleet)
        changes = self.plane.apply(command, now)
        self.audit.add(self.audit.drafted([(who, change) for change in changes], self.now))
        self.changes += 1
        self.plane.decide(self.now)
        self.server.changed(changes)
        list(self.server.looking())

    def decide(self) -> None:
        self.changes += 1
        self.plane.decide(self.now)
        list(self.server.looking())


@asynccontextmanager
async def served(
    plane: Plane | None = None,
    *,
    token: str | None = None,
    tokens: Sequence[Token] = (),
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    networks: Sequence[str] | None = None,
    tls: Mapping[str, Any] | None = None,
    credentials: Credentials | None = None,
    issuer: Issuer | None = None,
    port: int = 0,
) -> AsyncIterator[Served]:
    """Serve a plane, an empty one by default."""
    here = Served(plane or Plane(100.0))
    server = RestServer(
        AdminSettings.model_validate(
            {"address": f"127.0.0.1:{port}", "networks": networks, "tls": tls}
        ),
        here.plane,
        nodes=lambda: here.nodes,
        carry_out=here.carry_out,
        audit=here.audit,
        ready=lambda: here.is_ready,
        metrics=OwnMetrics(here.plane, clock=lambda: here.now).page,
        tokens=(Token.of(token),) if token else tokens,
        credentials=credentials,
        issuer=issuer,
        limits=limits,
        clock=lambda: here.now,
        wall_clock=lambda: here.now,
    )
    here.server = server
    here.address = await server.start()
    try:
        async with aiohttp.ClientSession() as here.session:
            yield here
    finally:
        await server.stop(1.0)
