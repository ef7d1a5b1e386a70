"""``plimsoll diagnose`` of a running control plane and a real Envoy."""

import asyncio
import json
from pathlib import Path

from click.testing import CliRunner

from controlplane.cli.group import plimsoll
from tests.cli.test_diagnose import parts
from tests.envoy.pools import pool_of
from tests.processes import serving, sidecar, until
from tests.replica import replica

CHECK = "Bearer hc-bearer-7Qx2"
CLASS = "class-key-93kd"
MODEL = "https://robot:model-pass-1a2b@models.example/minilm"


async def test_the_report_has_what_envoy_holds_and_has_counted_and_no_secret(
    tmp_path: Path,
) -> None:
    async with replica() as a:
        entry = pool_of("p", a, model=MODEL)
        entry["health_check"]["headers"] = {"authorization": CHECK}
        match = {"header": {"name": "x-key", "value": CLASS}}
        entry["classes"] = [{"name": "bulk", "match": match}]
        async with (
            serving(tmp_path, [entry]) as plane,
            sidecar(tmp_path, plane.xds, ["p"]) as envoy,
        ):

            async def routes_by_class() -> bool:
                held = json.dumps(await envoy.admin("/config_dump"))
                return await envoy.post("p") == 200 and CLASS in held and CHECK in held

            await until("Envoy holds the secrets", routes_by_class)
            path = tmp_path / "report.tar.gz"
            admin = envoy.admin_url.removeprefix("http://")
            result = await asyncio.to_thread(
                CliRunner(env={"PLIMSOLL_URL": f"http://{plane.admin}"}).invoke,
                plimsoll,
                ["diagnose", "--output", str(path), "--envoy", admin],
            )
    files = parts(path)
    assert (result.exit_code, json.loads(files["summary.json"])["missing"]) == (0, {})
    folder = f"envoy/{admin.replace(':', '-')}"
    dump = files[f"{folder}/config_dump.json"]
    assert '"x-key"' in dump
    assert "EndpointsConfigDump" in dump
    assert "cluster.p.upstream_rq_completed" in files[f"{folder}/stats.txt"]
    assert a.address.rpartition(":")[2] in files[f"{folder}/clusters.json"]
    assert '"sidecar"' in files["nodes.json"]
    everything = "\n".join(files.values())
    for secret in ("hc-bearer-7Qx2", CLASS, "model-pass-1a2b"):
        assert secret not in everything
