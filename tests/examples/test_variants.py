"""The compose files of examples/, each run once: commands as processes, replicas that stand in."""

import json
import re
import shlex
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from controlplane.ca.certificates import key_pem, new_key
from controlplane.ca.folder import CaFolder, NodeFiles
from controlplane.cli.group import plimsoll
from controlplane.config import SERVERS, load_config
from tests.examples.composed import (
    ROOT,
    Composed,
    answered,
    asked,
    composed,
    mesh_serves,
    stand_in,
)
from tests.processes import until
from tests.spire_agent import SpireAgent

EXAMPLES = ROOT / "examples"
EXPOSITIONS = ROOT / "tests" / "telemetry" / "expositions"


def replicas(folder: Path, config: str) -> dict[str, str]:
    """The address of each replica, as the config file has it."""
    (pool,) = load_config((folder / config).read_text(), config).pools
    return {replica.id: str(replica.address) for replica in pool.replicas}


def written(folder: Path) -> list[tuple[str, str]]:
    """The bootstraps of a folder, and the commands that its compose file says they are made by."""
    commands = [
        line.strip().removeprefix("# ")
        for line in (folder / "compose.yaml").read_text().splitlines()
        if line.strip().startswith("# plimsoll bootstrap")
    ]
    found = []
    for command in commands:
        node = shlex.split(command)[shlex.split(command).index("--node") + 1]
        found.append((command, f"{node}.yaml"))
    return found


@pytest.mark.parametrize("name", ["servers", "zones", "spire"])
def test_each_bootstrap_is_what_its_command_prints(name: str) -> None:
    folder = EXAMPLES / name
    assert written(folder)
    for command, file in written(folder):
        ran = CliRunner().invoke(plimsoll, shlex.split(command)[1:])
        assert ran.stdout == (folder / file).read_text(), command


@pytest.mark.parametrize("server", ["tei", "vllm", "triton", "infinity"])
async def test_the_replicas_of_a_known_server_serve_and_are_read(
    tmp_path: Path, server: str
) -> None:
    folder = EXAMPLES / "servers"
    made = Composed(folder / "compose.yaml", tmp_path, environment={"SERVER": server})
    known, said = SERVERS[server], (EXPOSITIONS / f"{server}.txt").read_text()
    if server == "triton":
        said = said.replace('model="', 'model="e5",was="')
    async with AsyncExitStack() as stack:
        for id_ in replicas(folder, f"{server}.yaml"):
            address = f"{made.address(f'{server}-{id_}')}:8000"
            metrics = {known.metrics_port or 8000: said}
            await stack.enter_async_context(stand_in(address, known.health, metrics))
        for service in ("control-plane", "envoy"):
            await stack.enter_async_context(made.running(service))
        path = known.api or "/v2/models/e5/infer"
        await answered(f"http://{made.address('envoy')}:10000{path}")
        api = f"http://{made.address('control-plane')}:8080/v1/pools/embed/replicas"

        async def are_read() -> bool:
            found = (await asked(api))["replicas"]
            readings = [item["readings"] or {} for item in found]
            return all(reading.get("rate_rps") is not None for reading in readings)

        await until("both replicas' metrics are understood", are_read)


async def test_requests_of_a_zone_stay_in_it(tmp_path: Path) -> None:
    folder = EXAMPLES / "zones"
    async with AsyncExitStack() as stack:
        made = Composed(folder / "compose.yaml", tmp_path)
        at = {id_: f"{made.address(id_)}:9000" for id_ in replicas(folder, "plimsoll.yaml")}
        for address in at.values():
            await stack.enter_async_context(stand_in(address))
        for service in ("control-plane", "web-1", "web-2"):
            await stack.enter_async_context(made.running(service))
        for envoy, ids in (("web-1", "ab"), ("web-2", "cd")):
            url = f"http://{made.address(envoy)}:10000/v1/embeddings"
            near = {at[id_] for id_ in ids}

            async def are_near(url: str = url, near: set[str] = near) -> bool:
                return {await answered(url) for _ in range(20)} == near

            await until(f"requests of {envoy} stay near", are_near)


async def test_a_mesh_takes_its_certificates_from_a_spire_agent(tmp_path: Path) -> None:
    folder, domain = EXAMPLES / "spire", "mesh.example"
    made = Composed(folder / "compose.yaml", tmp_path, stand_ins=["spire", "certificate"])
    ca = CaFolder(tmp_path / "ca")
    ca.create(domain, time.time())
    content = ca.load(time.time())

    def identity(path: str) -> tuple[bytes, bytes]:
        key = new_key()
        leaf = content.authority.issue(
            key.public_key(), [f"spiffe://{domain}/{path}"], now=time.time(), seconds=3600
        )
        return leaf.chain, key_pem(key)

    # As the script registers them.
    paths = re.findall(r"(?m)^entry (\S+) \d+$", (folder / "spire.sh").read_text())
    chain, key = identity("control-plane")
    NodeFiles(tmp_path / "state").write(chain, content.roots, key)
    identities = {f"spiffe://{domain}/{path}": identity(path) for path in paths}
    # What an egress asks for by this name an agent knows by who asks.
    agent = SpireAgent(
        {**identities, "default": identities[f"spiffe://{domain}/node/web"]}, content.roots
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(agent.serving(tmp_path / "agent" / "agent.sock"))
        await stack.enter_async_context(mesh_serves(made))
        used = {*identities} - {f"spiffe://{domain}/control-plane"}
        assert agent.asked == {*used, "default", "ROOTCA"}


async def test_a_mesh_takes_its_certificates_from_the_control_plane(tmp_path: Path) -> None:
    folder = EXAMPLES / "mesh"
    async with (
        composed(folder / "compose.yaml", tmp_path, "certificates") as made,
        mesh_serves(made),
    ):
        pass


@pytest.mark.parametrize("name", ["servers", "zones", "mesh", "spire"])
def test_the_request_to_try_it_with_names_its_model(name: str) -> None:
    text = (EXAMPLES / name / "compose.yaml").read_text()
    (body,) = re.findall(r"--json '(.*)'$", text, re.M)
    assert json.loads(body).keys() == {"model", "input"}
