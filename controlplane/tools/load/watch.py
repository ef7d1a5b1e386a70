"""Looks at Envoys and the control plane while load is sent: their pages in, sightings out."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from controlplane.tools.load import envoy_hops
from controlplane.tools.load.envoy_stats import Host, clusters_of, hosts_of_all
from controlplane.tools.load.errors import LoadError
from controlplane.tools.load.replicas import StepWatch
from controlplane.tools.load.schedule import Step, looks
from controlplane.tools.load.standing import Standing, standings
from controlplane.tools.load.workload import Sources

EVERY: Final = 0.5
"""Seconds between two looks at most: requests in flight are sampled, not counted."""

_ANSWER: Final = aiohttp.ClientTimeout(total=2.0)


class Watch:
    """Looks at everything again and again.

    Attributes:
        steps: What was seen during each step, by its number.
    """

    def __init__(self, sources: Sources, session: aiohttp.ClientSession) -> None:
        """Look at nothing yet."""
        self.steps: dict[int, StepWatch] = {}
        self._sources = sources
        self._session = session
        self._before: dict[str, dict[str, envoy_hops.Buckets]] = {}

    async def open(self) -> None:
        """See that everybody is there who is to be looked at.

        Raises:
            LoadError: Somebody does not answer, or knows nothing of the pool.
        """
        pool = self._sources.pool
        for url in self._sources.envoys:
            answer = await self._get(f"{url}/clusters?format=json")
            if not isinstance(answer, dict):
                raise LoadError(f"--envoy-admin: no Envoy's admin interface answers at {url}")
            known = {str(it.get("name")) for it in answer.get("cluster_statuses", ())}
            if pool not in known:
                has = ", ".join(sorted(known)) or "none"
                raise LoadError(f"--pool: the Envoy at {url} has no cluster {pool!r}, but: {has}")
        self._before = await self._histograms()

    async def run(self, begun: float, plan: Sequence[Step]) -> None:
        """Look at the ends of every step, and between.

        Args:
            begun: When the load began, by the event loop's clock.
            plan: All steps.
        """
        loop = asyncio.get_running_loop()
        for step in plan:
            for at in looks(step, EVERY):
                await asyncio.sleep(begun + at - loop.time())
                envoys, said = await asyncio.gather(self._hosts(), self._standings())
                watch = self.steps.setdefault(step.number, StepWatch())
                watch.add(loop.time(), envoys, said)

    async def hops(self) -> dict[str, dict[str, envoy_hops.Hop]]:
        """What each Envoy's own histograms say of the whole load."""
        after = await self._histograms()
        return {url: envoy_hops.hops(self._before.get(url, {}), now) for url, now in after.items()}

    async def _hosts(self) -> dict[str, dict[str, Host]]:
        urls = self._sources.envoys
        answers = await asyncio.gather(*(self._get(f"{it}/clusters?format=json") for it in urls))
        return hosts_of_all(dict(zip(urls, answers, strict=True)), self._sources.pool)

    async def _histograms(self) -> dict[str, dict[str, envoy_hops.Buckets]]:
        urls = self._sources.envoys
        answers = await asyncio.gather(*(self._histograms_at(it) for it in urls))
        return {
            url: envoy_hops.histograms(answer)
            for url, answer in zip(urls, answers, strict=True)
            if isinstance(answer, dict)
        }

    async def _histograms_at(self, url: str) -> Any:
        pool, known = self._sources.pool, await self._get(f"{url}/clusters?format=json")
        clusters = clusters_of(known, pool) if isinstance(known, dict) else [pool]
        return await self._get(url + envoy_hops.query(pool, clusters))

    async def _standings(self) -> dict[str, Standing]:
        if self._sources.admin is None:
            return {}
        url = f"{self._sources.admin}/v1/pools/{quote(self._sources.pool, safe='')}/replicas"
        answer = await self._get(url, self._sources.headers)
        return standings(answer) if isinstance(answer, dict) else {}

    async def _get(self, url: str, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON of a page; None when there is none."""
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
