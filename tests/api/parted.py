"""A pool whose requests are parted by size, behind a real API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.api.served import Served, served
from tests.plane.lives import CONFIG, SIZES, Life, steadily


def living(api: Served) -> Life:
    """Pool m with three replicas, all requests alike so far."""
    api.plane.declare(CONFIG, api.now)
    life = Life(api.plane, api.now)
    go(api, life, 10)
    return life


def go(api: Served, life: Life, seconds: float, *sizes: int) -> None:
    """Serve for a while requests of these sizes."""
    life.sizes = sizes
    life.live(seconds, steadily)
    api.now = life.now
    list(api.server.looking())


@asynccontextmanager
async def parted() -> AsyncIterator[Served]:
    """Searches are served by fast and slow, bulk requests by the replica that is called same."""
    async with served() as api:
        go(api, living(api), 60, *SIZES)
        yield api
