"""An Envoy that has its certificates from a SPIRE agent; the agent here only speaks as one does."""

import time
from pathlib import Path

from controlplane.ca.certificates import control_plane_uri, key_pem, new_key, node_uri
from controlplane.resources.bootstrap import bootstrap
from controlplane.resources.secret_sources import SPIRE, SpireTls
from tests.envoy.test_certificates import DOMAIN, NODE, World
from tests.processes import free_port, started_envoy, until
from tests.spire_agent import SpireAgent


async def test_an_envoy_shows_the_control_plane_what_its_agent_gave_it(tmp_path: Path) -> None:
    world, socket = World(tmp_path), tmp_path / "agent.sock"
    content, key = world.ca.load(time.time()), new_key()
    own = node_uri(DOMAIN, NODE)
    leaf = content.authority.issue(key.public_key(), [own], now=time.time(), seconds=3600)
    agent = SpireAgent({own: (leaf.chain, key_pem(key))}, content.roots)
    async with agent.serving(socket), world.serving("1h") as plane:
        data = bootstrap(
            NODE,
            plane.xds,
            pools=["p"],
            admin_port=free_port(),
            tls=SpireTls(control_plane_uri(DOMAIN), own),
            secrets=SPIRE,
            spire=str(socket),
        )
        assert data["node"]["metadata"]["plimsoll"]["identity"] == {"source": "spire"}
        async with started_envoy(tmp_path, NODE, data, {}):

            async def is_known() -> bool:
                nodes = (await plane.get("/v1/nodes"))["nodes"]
                return [node["id"] for node in nodes] == [NODE]

            await until("the control plane knows the node", is_known)
        assert agent.asked == {own, "ROOTCA"}
