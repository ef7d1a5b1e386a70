"""``plimsoll serve`` as a process: what it says when it cannot, and how it follows its file."""

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import Plimsoll, free_port, run, serving, until

POOL: dict[str, Any] = {
    "name": "minilm",
    "model": "all-MiniLM-L6-v2",
    "listener": {"address": "127.0.0.1:10000"},
}


def config(folder: Path, data: object) -> str:
    """Write a config file; returns its path."""
    path = folder / "plimsoll.yaml"
    path.write_text(yaml.safe_dump(data))
    return str(path)


@pytest.mark.parametrize(("server", "says"), [("admin", "the API"), ("xds", "xDS")])
async def test_a_port_in_use_is_named(tmp_path: Path, server: str, says: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        free = {"admin": {"address": "127.0.0.1:0"}, "xds": {"address": "127.0.0.1:0"}}
        path = config(tmp_path, free | {server: {"address": address}})
        code, _, errors = await run("serve", "--config", path)
    assert code == 1
    # Libraries have words of their own for it; nobody needs them.
    *before, last = errors.splitlines()
    assert last == f"plimsoll: cannot serve {says} on {address}: address already in use"
    assert all("plimsoll.db is new" in line for line in before)


async def test_an_xds_address_of_another_machine_is_named(tmp_path: Path) -> None:
    servers = {
        "admin": {"address": "127.0.0.1:0"},
        "xds": {"address": "192.0.2.1:18000", "insecure": True},
    }
    code, _, errors = await run("serve", "--config", config(tmp_path, servers))
    *before, last = errors.splitlines()
    assert (code, last) == (
        1,
        "plimsoll: cannot serve xDS on 192.0.2.1:18000: cannot assign requested address",
    )
    assert all("plimsoll.db is new" in line for line in before)


async def test_a_config_file_that_is_not_there_is_named() -> None:
    assert await run("serve", "--config", "/nowhere/plimsoll.yaml") == (
        2,
        "",
        "plimsoll: /nowhere/plimsoll.yaml: cannot be read: No such file or directory\n",
    )


async def test_a_wrong_config_is_one_line_with_file_line_and_key(tmp_path: Path) -> None:
    path = config(tmp_path, {"pools": [POOL | {"polcy": "x"}]})
    code, _, errors = await run("serve", "--config", path)
    assert code == 2
    assert errors.startswith(f"plimsoll: {path}:")
    assert "pools[0].polcy: unknown key" in errors
    assert errors.count("\n") == 1


async def test_bad_usage_is_one_line() -> None:
    assert await run("serve") == (
        2,
        "",
        "plimsoll: Missing option '--config'; `plimsoll serve --help` says how it is used\n",
    )


async def test_without_a_command_the_help_is_printed_as_it_is() -> None:
    code, _, errors = await run()
    assert (code, errors.splitlines()[0]) == (2, "Usage: plimsoll [OPTIONS] COMMAND [ARGS]...")
    assert errors.splitlines()[-1] == "  top        watch the replicas of each pool, live"


async def names(plane: Plimsoll) -> list[str]:
    return [pool["name"] for pool in (await plane.get("/v1/pools"))["pools"]]


async def test_a_changed_config_file_is_followed_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    async with serving(tmp_path, [POOL]) as plane:
        path = tmp_path / "plimsoll.yaml"
        data = yaml.safe_load(path.read_text())
        second = POOL | {"name": "second", "listener": {"address": "127.0.0.1:10001"}}
        path.write_text("pools: [")

        async def is_refused() -> bool:
            return "the previous one applies" in (tmp_path / "plimsoll.log").read_text()

        await until("the wrong file is refused", is_refused)
        assert "plimsoll_config_file_problem 1.0" in await plane.text("/metrics")
        assert await names(plane) == ["minilm"]
        config(tmp_path, data | {"pools": [POOL, second]})

        async def is_followed() -> bool:
            return await names(plane) == ["minilm", "second"]

        await until("the right file is followed", is_followed)
        assert "plimsoll_config_file_problem 0.0" in await plane.text("/metrics")


async def test_paths_in_the_config_file_are_relative_to_it(tmp_path: Path) -> None:
    found = tmp_path / "replicas.d"
    found.mkdir()
    (found / "one.yaml").write_text('replicas: [{id: a, address: "127.0.0.1:9"}]')
    pool = POOL | {"discovery": [{"directory": {"path": "replicas.d", "interval": "100ms"}}]}
    # Started elsewhere: the tests run in the folder of the project.
    async with serving(tmp_path, [pool]) as plane:

        async def is_found() -> bool:
            answer = await plane.get("/v1/pools/minilm/replicas")
            return [replica["id"] for replica in answer["replicas"]] == ["a"]

        await until("the replica in the folder is found", is_found)
        (source,) = (await plane.get("/v1/pools/minilm"))["discovery"]["sources"]
        assert source["name"] == "directory replicas.d"
    assert (tmp_path / "plimsoll.db").exists()


async def test_it_is_ready_once_envoys_are_served_and_stops_when_told(tmp_path: Path) -> None:
    # One that nobody listens for; for those that register themselves it would wait.
    replicas = [{"id": "a", "address": f"127.0.0.1:{free_port()}"}]
    async with serving(tmp_path, [POOL | {"replicas": replicas}]) as plane:

        async def is_ready() -> bool:
            return await plane.call("GET", "/readyz") == 200

        await until("it is ready", is_ready)
        os.kill(plane.pid, signal.SIGTERM)
        assert await plane.ended() == 0
