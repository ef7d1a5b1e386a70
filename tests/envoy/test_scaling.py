"""A real Envoy wakes an empty pool, and KEDA is told."""

import contextlib
from pathlib import Path

import grpc
import pytest
import yaml

from controlplane.app import running
from controlplane.config import load_config
from tests.envoy.pools import pool
from tests.features.keda import keda
from tests.processes import free_port, sidecar, until


async def test_requests_for_a_pool_without_replicas_make_it_active(tmp_path: Path) -> None:
    scaling = {"min_replicas": 0, "scale_down_after": "3s"}
    config = {
        "admin": {"address": f"127.0.0.1:{free_port()}"},
        "xds": {"address": f"127.0.0.1:{free_port()}"},
        "store": {"path": str(tmp_path / "plimsoll.db")},
        "pools": [pool("m", {}, scaling=scaling)],
    }
    async with (
        running(load_config(yaml.safe_dump(config), "plimsoll.yaml")) as addresses,
        sidecar(tmp_path, addresses.xds, ["m"]) as envoy,
        keda(addresses.xds, pool="m") as client,
    ):

        async def sleeps() -> bool:
            # Nobody is answered before something is known.
            with contextlib.suppress(grpc.aio.AioRpcError):
                return not await client.is_active()
            return False

        await until("nothing has come for a while", sleeps)
        (value,) = (await client.metrics("replicas")).metricValues
        assert value.metricValue == 0

        async def is_awake() -> bool:
            # One request in five is told of.
            assert await envoy.post("m") in (0, 503)
            return await client.is_active()

        await until("the control plane has heard of a request", is_awake)
        (value,) = (await client.metrics("replicas")).metricValues
        assert value.metricValue == pytest.approx(1)
