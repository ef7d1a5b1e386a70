"""Poll Envoys and the control plane while load is sent."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from controlplane.tools.load import envoy
from controlplane.tools.load.envoy import Host, clusters_of, hosts_of_all
from controlplane.tools.load.replicas import Reported, StepWatch, reported
from controlplane.tools.load.schedule import Step, looks
from controlplane.tools.load.workload import LoadError, Sources

EVERY: Final = 0.5
"""Seconds between two looks at most: requests in flight are sampled, not counted."""

_ANSWER: Final = aiohttp.ClientTimeout(total=2.0)


class Watch:
    """Looks at all sources again and again."""

    def __init__(self, sources: Sources, session: aiohttp.ClientSession) -> None:
        """Look at nothing yet."""
        self.steps: dict[int, StepWatch] = {}
        self._sources = sources
        self._session = session
        self._before: dict[str, dict[str, envoy.Buckets]] = {}

    async def open(self) -> None:
        """Check that every source answers.

        Raises:
            LoadError: A source does not answer, or does not know the pool.
        """
        pool = self._sources.pool
        for url in self._sources.envoys:
            answer = await self._get(f"{url}/clusters?format=json")
            if not isinstance(answer, dict):
                raise LoadError(f"--envoy-admin: no Envoy's admin interface answers at {url}")
            known = {str(each.get("name")) for each in answer.get("cluster_statuses", ())}
            if pool not in known:
                has = ", ".join(sorted(known)) or "none"
                raise LoadError(f"--pool: the Envoy at {url} has no cluster {pool!r}, but: {has}")
        self._before = await self._histograms()

    async def run(self, begun: float, plan: Sequence[Step]) -> None:
        """Look at both ends of every step, and between; `begun` is by the event loop's clock."""
        loop = asyncio.get_running_loop()
        for step in plan:
            for at in looks(step, EVERY):
                await asyncio.sleep(begun + at - loop.time())
                envoys, replicas = await asyncio.gather(self._hosts(), self._reported())
                watch = self.steps.setdefault(step.number, StepWatch())
                watch.add(loop.time(), envoys, replicas)

    async def hops(self) -> dict[str, dict[str, envoy.Hop]]:
        """Return what each Envoy's histograms show of the whole load."""
        after = await self._histograms()
        return {url: envoy.hops(self._before.get(url, {}), now) for url, now in after.items()}

    async def _hosts(self) -> dict[str, dict[str, Host]]:
        urls = self._sources.envoys
        answers = await asyncio.gather(
            *(self._get(f"{each}/clusters?format=json") for each in urls)
        )
        return hosts_of_all(dict(zip(urls, answers, strict=True)), self._sources.pool)

    async def _histograms(self) -> dict[str, dict[str, envoy.Buckets]]:
        urls = self._sources.envoys
        answers = await asyncio.gather(*(self._histograms_at(each) for each in urls))
        return {
            url: envoy.histograms(answer)
            for url, answer in zip(urls, answers, strict=True)
            if isinstance(answer, dict)
        }

    async def _histograms_at(self, url: str) -> Any:
        pool, known = self._sources.pool, await self._get(f"{url}/clusters?format=json")
        clusters = clusters_of(known, pool) if isinstance(known, dict) else [pool]
        return await self._get(url + envoy.query(pool, clusters))

    async def _reported(self) -> dict[str, Reported]:
        if self._sources.admin is None:
            return {}
        url = f"{self._sources.admin}/v1/pools/{quote(self._sources.pool, safe='')}/replicas"
        answer = await self._get(url, self._sources.headers)
        return reported(answer) if isinstance(answer, dict) else {}

    async def _get(self, url: str, headers: Mapping[str, str] | None = None) -> Any:
        """Return the JSON of a page; None when there is none."""
        try:
            async with self._session.get(
                URL(url, encoded=True),
                headers=headers,
                timeout=_ANSWER,
                allow_redirects=False,
            ) as answer:
                return json.loads(await answer.read()) if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
