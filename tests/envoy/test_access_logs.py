"""A real Envoy tells how large some of its requests are, and does not mind if nobody listens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane import app
from controlplane.app import Running, running
from controlplane.config import load_config
from controlplane.plane import Plane
from tests.envoy.load import load
from tests.envoy.test_steering import POOL, plane_and_envoy, pool
from tests.processes import free_port, sidecar, until
from tests.replica import FakeReplica, replica

SEARCH, BULK = "a text", "a text " * 2_000
ENOUGH = 60
"""Sampled requests, of three hundred."""


def body(text: str) -> int:
    """Bytes of the request that `Envoy.post` makes of a text."""
    return len(f'{{"model": "m", "input": "{text}"}}')


@asynccontextmanager
async def control_plane(
    folder: Path, replicas: dict[str, FakeReplica], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Plane, Running]]:
    """A control plane in this process, to look into."""
    made: list[Plane] = []

    def remembered(*arguments: Any) -> Plane:
        made.append(Plane(*arguments))
        return made[0]

    monkeypatch.setattr(app, "Plane", remembered)
    config = {
        "admin": {"address": f"127.0.0.1:{free_port()}"},
        "xds": {"address": f"127.0.0.1:{free_port()}"},
        "store": {"path": str(folder / "plimsoll.db")},
        "pools": [pool(replicas)],
    }
    async with running(load_config(yaml.safe_dump(config), "plimsoll.yaml")) as addresses:
        yield made[0], addresses


async def test_the_control_plane_knows_how_large_requests_are_and_where_to_part_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        replica() as a,
        control_plane(tmp_path, {"a": a}, monkeypatch) as (plane, addresses),
        sidecar(tmp_path, addresses.xds, [POOL]) as envoy,
    ):
        async with load(envoy, POOL, texts=[SEARCH] * 3 + [BULK]) as statuses:

            async def has_told() -> bool:
                return POOL in plane.sizes and plane.sizes[POOL].all.samples >= ENOUGH

            await until("it has told of enough requests", has_told)
        sent = statuses.total()
        split = plane.sizes[POOL].all.threshold()
        assert split is not None
        assert body(SEARCH) < split.threshold < body(BULK)
        assert split.below.mean == pytest.approx(body(SEARCH))
        assert split.above.mean == pytest.approx(body(BULK))
        assert 0.05 < split.requests_above < 0.5
        # One in five, and none twice.
        assert plane.sizes[POOL].all.samples < 0.4 * sent


async def test_requests_go_on_as_before_when_the_control_plane_is_gone(tmp_path: Path) -> None:
    async with replica() as a, plane_and_envoy(tmp_path, {"a": a}) as (plane, envoy):

        async def entries() -> int:
            return await envoy.stat("access_logs.grpc_access_log.logs_written")

        async with load(envoy, POOL, rate=1000) as statuses:

            async def has_told() -> bool:
                return await entries() > 0

            await until("it has told of a request", has_told)
            plane.kill()
            await plane.ended()
            sent, told = statuses.total(), await entries()

            async def goes_on() -> bool:
                # A hundred entries are more than it keeps for who is not there.
                return statuses.total() > sent + 500 and await entries() > told + 100

            await until("it goes on, and nobody takes what it tells", goes_on)
        assert set(statuses) == {200}
