"""The compose files of examples/, each run once: commands as processes, replicas that stand in."""

import json
import re
import shlex
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from controlplane.cli.group import plimsoll
from controlplane.config import SERVERS, load_config
from tests.examples.composed import ROOT, Composed, answered, asked, composed, stand_in
from tests.processes import until

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


@pytest.mark.parametrize("name", ["servers", "zones"])
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
    made = Composed(folder / "compose.yaml", tmp_path, SERVER=server)
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


async def test_a_mesh_serves_whom_it_may_and_nobody_without_a_certificate(tmp_path: Path) -> None:
    folder = EXAMPLES / "mesh"
    names = ("certificates", "control-plane", "web", "gpu-a", "gpu-b")
    async with composed(folder / "compose.yaml", tmp_path, *names) as made, AsyncExitStack() as own:
        at = {f"replica-{item}": f"{made.address(f'replica-{item}')}:9000" for item in "ab"}
        for address in at.values():
            await own.enter_async_context(stand_in(address))
        seen = set[str]()

        async def are_both_seen() -> bool:
            seen.add(await answered(f"http://{made.address('web')}:10000/v1/embeddings"))
            return seen == {*at.values()}

        await until("both replicas answer", are_both_seen)
        ingress = f"http://{made.address('gpu-a')}:9443/v1/embeddings"
        async with aiohttp.ClientSession(trust_env=False) as nobody:
            with pytest.raises(aiohttp.ClientError):
                await nobody.post(ingress, json={"input": "a text"})
        (node, *_) = (await asked(f"http://{made.address('control-plane')}:8080/v1/nodes"))["nodes"]
        assert node["id"] in names


@pytest.mark.parametrize("name", ["servers", "zones", "mesh"])
def test_the_request_to_try_it_with_names_its_model(name: str) -> None:
    text = (EXAMPLES / name / "compose.yaml").read_text()
    (body,) = re.findall(r"--json '(.*)'$", text, re.M)
    assert json.loads(body).keys() == {"model", "input"}
