"""KEDA's own scalers ask a control plane; a real Envoy wakes the pool."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.certificates import Authority, Leaf
from tests.envoy.pools import pool
from tests.processes import DEADLINE, Plimsoll, serving, sidecar, until

CA, OTHER_CA = Authority(), Authority()
POOL = pool("m", {}, scaling={"min_replicas": 0, "scale_down_after": "3s"})


class Keda:
    """One trigger of KEDA's operator."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._write, self._read = process.stdin, process.stdout

    async def next(self) -> tuple[str, Any]:
        """The next thing that it says."""
        line = await asyncio.wait_for(self._read.readline(), DEADLINE)
        ((kind, value),) = json.loads(line).items()
        return kind, value

    async def ask(self) -> tuple[Any, Any]:
        """Have it read the metrics: what it gives the autoscaler, and what it got, if anything."""
        self._write.write(b"\n")
        specs, answer = None, None
        while answer is None:
            kind, value = await self.next()
            if kind == "specs":
                specs = value
                if specs is None:
                    break
            elif kind in ("answer", "error"):
                answer = value
        return specs, answer


@asynccontextmanager
async def trigger(
    kind: str, auth: dict[str, str] | None = None, **metadata: str
) -> AsyncIterator[Keda]:
    """Run KEDA's scaler for a trigger."""
    described = json.dumps({"type": kind, "metadata": metadata, "auth": auth or {}})
    process = await asyncio.create_subprocess_exec(
        os.environ["PLIMSOLL_KEDA"],
        described,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Keda(process)
    finally:
        process.kill()
        await process.wait()


async def wants(keda: Keda, replicas: int, *, active: bool) -> bool:
    """Whether KEDA is told that a pool should have so many replicas."""
    specs, answer = await keda.ask()
    if not isinstance(answer, dict):
        return False
    (spec,), (metric,) = specs, answer["metrics"]
    assert spec["external"]["target"] == {"type": "AverageValue", "averageValue": "1"}
    assert spec["external"]["metric"]["name"] == metric["metricName"]
    return (metric["value"], answer["active"]) == (str(replicas), active)


async def test_each_of_its_scalers_is_told_when_a_request_wakes_a_pool(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, [POOL]) as plane,
        sidecar(tmp_path, plane.xds, ["m"]) as envoy,
        trigger("external-push", scalerAddress=str(plane.xds), pool="m") as push,
        trigger("external", scalerAddress=str(plane.xds), pool="m") as external,
        metrics_api(plane) as api,
    ):

        async def reports() -> bool:
            return await envoy.stat("load_reporter.requests") > 0

        await until("Envoy was asked to report load", reports)
        await until("external sees it asleep", lambda: wants(external, 0, active=False))
        await until("metrics-api sees it asleep", lambda: wants(api, 0, active=False))
        assert await envoy.post("m") == 503
        while await push.next() != ("stream", True):
            pass
        await until("external sees it awake", lambda: wants(external, 1, active=True))
        await until("metrics-api sees it awake", lambda: wants(api, 1, active=True))


def metrics_api(plane: Plimsoll) -> Any:
    """As docs/scaling.md has it, without a token: this control plane is on loopback."""
    return trigger(
        "metrics-api",
        url=f"http://{plane.admin}/v1/pools/m/scaling",
        valueLocation="replicas",
        targetValue="1",
    )


async def test_over_tls_keda_is_answered_about_the_pools_of_its_certificate(
    tmp_path: Path,
) -> None:
    CA.server().write(tmp_path / "tls", "xds")
    CA.write(tmp_path / "tls")
    files = {"certificate": "tls/xds.pem", "key": "tls/xds-key.pem", "client_ca": "tls/ca.pem"}
    tls = files | {"nodes": {"keda": ["m"], "sidecar-*": ["other"]}}
    pools = [pool(name, {}, scaling={"min_replicas": 2}) for name in ("m", "other")]
    async with serving(tmp_path, pools, xds_more={"tls": tls}) as plane:
        keda = trigger_auth(CA, CA.node("keda"))
        for kind in ("external", "external-push"):
            async with trigger(kind, keda, scalerAddress=str(plane.xds), pool="m") as asks:
                if kind == "external-push":
                    assert await asks.next() == ("stream", True)
                await until(f"{kind} is answered", partial(wants, asks, 2, active=True))
        for auth, name in ((keda, "other"), (trigger_auth(CA), "m"), (trigger_auth(OTHER_CA), "m")):
            async with trigger("external", auth, scalerAddress=str(plane.xds), pool=name) as asks:
                assert await asks.ask() == (None, None)


def trigger_auth(root: Authority, client: Leaf | None = None) -> dict[str, str]:
    """What a TriggerAuthentication has: the root of the server, and a certificate of KEDA's own."""
    auth = {"caCert": root.root.decode()}
    if client is not None:
        auth |= {"tlsClientCert": client.certificate.decode(), "tlsClientKey": client.key.decode()}
    return auth
