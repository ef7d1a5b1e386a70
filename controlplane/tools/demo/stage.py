"""Start every part and wait until it is ready, asking it over HTTP."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from controlplane.client import Client, ClientError, ReplicaInShort
from controlplane.tools.demo.layout import POOL, Installed, Layout, Replica, Sidecar
from controlplane.tools.demo.processes import DemoError, Processes
from controlplane.tools.load.envoy import Host, hosts, hosts_of_all

READY_SECONDS: Final = 60.0
"""Until when a part must be ready; a small machine that is busy takes a while."""
_AGAIN: Final = 0.1
_ANSWER: Final = aiohttp.ClientTimeout(total=2.0)


class Stage:
    """The parts of a demonstration, once they run."""

    def __init__(self, layout: Layout, session: aiohttp.ClientSession, api: Client) -> None:
        self.layout, self._session, self._api = layout, session, api

    async def rise(
        self, found: Installed, processes: Processes, folder: Path, say: Callable[[str], None]
    ) -> None:
        """Start everything, in the order in which one part needs another."""
        layout = self.layout
        config = folder / "plimsoll.yaml"
        config.write_text(yaml.safe_dump(layout.config(str(folder / "plimsoll.db"))))
        serve = [sys.executable, "-m", "controlplane", "serve", "--config", str(config)]
        await processes.start("control plane", serve)
        for replica in layout.replicas:
            argv = [sys.executable, str(found.replica), *replica.flags()]
            await processes.start(f"replica {replica.id}", argv)
        for replica in layout.replicas:
            await _until(f"replica {replica.id}", partial(self._is_loaded, replica))
            say(f"replica {replica.id} has loaded its model, at {replica.speed:g}× speed")
        await _until("the control plane", self._is_serving)
        say(f"the control plane serves: http://{layout.admin}")
        for sidecar in layout.sidecars:
            bootstrap = folder / f"{sidecar.name}.json"
            bootstrap.write_text(json.dumps(sidecar.bootstrap(layout.xds)))
            # Hot restart would leave a file in /dev/shm behind.
            options = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
            envoy = [str(found.envoy), "-c", str(bootstrap), *options]
            await processes.start(sidecar.name, envoy)
        for sidecar in layout.sidecars:
            await _until(sidecar.name, partial(self._is_steered, sidecar))
            say(f"Envoy {sidecar.name} has its replicas and listens on {sidecar.listener}")

    async def slow(self, replica: Replica, speed: float) -> None:
        """Change a replica's speed by its own demonstration hook."""
        url = f"http://{replica.address}/speed"
        try:
            async with self._session.put(url, json={"speed": speed}, timeout=_ANSWER) as answer:
                answer.raise_for_status()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DemoError(f"replica {replica.id} did not take another speed: {error}") from error

    async def reported(self) -> dict[str, ReplicaInShort]:
        """Return what the control plane reports of each replica; empty without an answer."""
        try:
            return {each.id: each for each in (await self._api.pool(POOL)).replicas}
        except ClientError:
            return {}

    async def hosts(self) -> dict[str, dict[str, Host]]:
        """Return what each Envoy shows of each replica, without Envoys that do not answer."""
        answers = await asyncio.gather(*map(self._clusters, self.layout.sidecars))
        names = (sidecar.name for sidecar in self.layout.sidecars)
        return hosts_of_all(dict(zip(names, answers, strict=True)), POOL)

    async def _is_loaded(self, replica: Replica) -> bool:
        return await self._get(f"http://{replica.address}/health") is not None

    async def _is_serving(self) -> bool:
        return await self._get(f"http://{self.layout.admin}/readyz") is not None

    async def _is_steered(self, sidecar: Sidecar) -> bool:
        known = hosts(await self._clusters(sidecar) or {}, POOL)
        usable = {id_ for id_, host in known.items() if host.usable}
        if usable != {replica.id for replica in self.layout.replicas}:
            return False
        try:
            _, writer = await asyncio.open_connection(sidecar.listener.host, sidecar.listener.port)
        except OSError:
            return False
        writer.close()
        return True

    async def _clusters(self, sidecar: Sidecar) -> Any:
        return await self._get(f"http://{sidecar.admin}/clusters?format=json")

    async def _get(self, url: str) -> Any:
        """Return the JSON of a page; {} where the page has none, None unless the status is 200."""
        try:
            async with self._session.get(url, timeout=_ANSWER) as answer:
                if answer.status != 200:
                    return None
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return None
        try:
            return json.loads(text)
        except ValueError:
            return {}


async def _until(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not await holds():  # noqa: ASYNC110 - other processes can only be asked again
                await asyncio.sleep(_AGAIN)
    except TimeoutError:
        raise DemoError(f"{what} was not ready after {READY_SECONDS:g} s") from None
