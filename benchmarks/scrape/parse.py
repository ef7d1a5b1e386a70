"""What it takes to parse what replicas answer: all of it by prometheus_client, and as we do."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.scrape.fleet import Fleet
from controlplane.telemetry import PROFILES, read

TEXTS: Final = 60
"""Expositions that are parsed, of as many replicas, dealt out over all pools."""

Texts = Sequence[tuple[str, str]]
"""Each with its profile."""


async def texts(fleet: Fleet) -> Texts:
    """Ask some replicas."""
    places = [
        (profile, ports[index])
        for index in range(TEXTS // len(fleet.pools))
        for profile, ports in fleet.pools
    ]
    async with aiohttp.ClientSession(trust_env=False) as session:

        async def ask(profile: str, port: int) -> tuple[str, str]:
            async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                return profile, await response.text()

        return await asyncio.gather(*(ask(*place) for place in places))


def by_prometheus_client(found: Texts) -> float:
    """Seconds of CPU that a text takes on average."""
    return _seconds(found, lambda text, _: list(text_string_to_metric_families(text)))


def by_us(found: Texts) -> float:
    """Seconds of CPU that a text takes on average once its labels are known, as all soon are."""

    def parse(text: str, profile: str) -> object:
        return read(text, PROFILES[profile], 0.0)

    _seconds(found, parse)
    return min(_seconds(found, parse) for _ in range(5))


def _seconds(found: Texts, parse: Callable[[str, str], object]) -> float:
    begun = time.process_time()
    for profile, text in found:
        parse(text, profile)
    return (time.process_time() - begun) / len(found)
