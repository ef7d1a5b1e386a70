"""A pool whose requests are parted by size, behind a real API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from functools import cache

from controlplane.plane import Plane
from tests.api.served import Served, served
from tests.plane.lives import CONFIG, SIZES, Life, steadily
from tests.planes import declare


def begun(plane: Plane, now: float) -> Life:
    """Pool m with three replicas, all requests alike so far."""
    declare(plane, CONFIG, now)
    life = Life(plane, now)
    life.live(10, steadily)
    return life


def living(api: Served) -> Life:
    """The same behind an API."""
    life = begun(api.plane, api.now)
    go(api, life, 0)
    return life


def go(api: Served, life: Life, seconds: float, *sizes: int) -> None:
    """Serve for a while requests of these sizes."""
    life.sizes = sizes
    life.live(seconds, steadily)
    api.now = life.now
    list(api.server.looking())


@cache
def _parted() -> tuple[Plane, float]:
    """A plane that parts its requests, and when."""
    life = begun(Plane(100.0), 100.0)
    life.sizes = SIZES
    life.live(60, steadily)
    return life.plane, life.now


@asynccontextmanager
async def parted() -> AsyncIterator[Served]:
    """Searches are served by fast and slow, bulk requests by the replica that is called same."""
    plane, now = _parted()
    async with served(deepcopy(plane)) as api:
        api.now = now
        list(api.server.looking())
        yield api
