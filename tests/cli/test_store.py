"""``plimsoll serve`` and its database: what it keeps, and what it does when it cannot."""

import asyncio
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from controlplane.config import Role, Token
from controlplane.store.tables import Cause
from tests.processes import DEADLINE, Plimsoll, free_port, run, serving, until

POOL: dict[str, Any] = {
    "name": "minilm",
    "model": "all-MiniLM-L6-v2",
    "listener": {"address": "127.0.0.1:10000"},
    "replicas": [{"id": "a", "address": "127.0.0.1:9001", "slots": 2}],
}
PATH = "/v1/pools/minilm/replicas"


def replica(port: int, **more: object) -> dict[str, object]:
    return {"address": f"127.0.0.1:{port}", **more}


def writes(result: str) -> str:
    return f'plimsoll_store_writes_total{{result="{result}"}}'


def value_of(told: str, series: str) -> float:
    (line,) = (item for item in told.splitlines() if item.startswith(f"{series} "))
    return float(line.split()[-1])


async def test_what_was_put_is_there_after_a_kill_and_says_where_it_comes_from(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, [POOL]) as plane:
        assert await plane.call("PUT", f"{PATH}/b", replica(9002, ttl="30s")) == 201
        assert await plane.call("PUT", f"{PATH}/a", replica(9001, slots=4)) == 200
        assert await plane.call("POST", f"{PATH}/b/drain") == 200
        plane.kill()
    async with serving(tmp_path, [POOL]) as plane:
        a, b = [await plane.get(f"{PATH}/{id_}") for id_ in "ab"]
        assert (a["slots"], a["source"], a["sources"]["slots"]) == (4, "file", "api")
        assert (a["sources"]["address"], a["sources"]["ttl"]) == ("file", "default")
        assert (b["source"], b["draining"], b["sources"]["ttl"]) == ("api", "operator", "api")
        assert b["lease_left_s"] > 0
        assert await plane.call("DELETE", f"{PATH}/a") == 204
        assert (await plane.get(f"{PATH}/a"))["slots"] == 2
        assert await plane.call("DELETE", f"{PATH}/a") == 409


async def test_who_changed_what_is_told_after_a_kill_and_numbers_go_on(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(
        "\n".join(Token.of(f"the-token-of-{who}", Role.OPERATE, who).line for who in ("ann", "bob"))
    )
    admin = {"token_file": "tokens"}

    async def change(plane: Plimsoll, who: str, slots: int) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer the-token-of-{who}"}
        url = f"http://{plane.admin}"
        async with aiohttp.ClientSession(headers=headers, trust_env=False) as session:
            body = replica(9001, slots=slots)
            async with session.put(f"{url}{PATH}/a", json=body) as answer:
                assert answer.status == 200
            async with session.get(f"{url}/v1/audit") as answer:
                entries: list[dict[str, Any]] = (await answer.json())["entries"]
                return entries

    async with serving(tmp_path, [POOL], admin=admin) as plane:
        first = await change(plane, "ann", 3)
        plane.kill()
    async with serving(tmp_path, [POOL], admin=admin) as plane:
        second = await change(plane, "bob", 4)
    assert second[1:] == first
    told = [
        (item["number"], item["who"], item["before"]["slots"], item["after"]["slots"])
        for item in second
    ]
    assert told == [(2, "bob", 3, 4), (1, "ann", 2, 3)]


async def test_who_followed_the_events_before_a_restart_is_told_that_it_missed_some(
    tmp_path: Path,
) -> None:
    async def begin(plane: Plimsoll, **headers: str) -> list[tuple[str, str]]:
        """The first two events: what their kinds and ids are."""
        found: list[tuple[str, str]] = []
        url, id_ = f"http://{plane.admin}/v1/events", ""
        async with (
            aiohttp.ClientSession(trust_env=False) as session,
            session.get(url, headers=headers) as events,
            asyncio.timeout(DEADLINE),
        ):
            await plane.call("POST", f"{PATH}/a/drain")
            async for line in events.content:
                key, _, value = line.decode().rstrip("\n").partition(": ")
                id_ = value if key == "id" else id_
                if key == "event" and value in ("state", "missed", "replica"):
                    found.append((value, id_))
                if len(found) == 2:
                    return found
        raise AssertionError("the stream has ended")

    async with serving(tmp_path, [POOL]) as plane:
        (first, _), (_, last) = await begin(plane)
        assert first == "state"
        plane.kill()
    async with serving(tmp_path, [POOL]) as plane:
        await plane.call("POST", f"{PATH}/a/undrain")
        again = await begin(plane, **{"Last-Event-ID": last})
        assert [kind for kind, _ in again] == ["missed", "state"]


async def test_a_second_plimsoll_on_the_same_file_says_so_and_ends(tmp_path: Path) -> None:
    async with serving(tmp_path, [POOL]):
        other = tmp_path / "other.yaml"
        addresses = {
            key: {"address": f"127.0.0.1:{free_port()}"}  # the ports are not what is in the way
            for key in ("admin", "xds")
        }
        other.write_text(yaml.safe_dump(addresses))
        code, _, said = await run("serve", "--config", other)
        assert code == 1
        assert said.startswith(f"plimsoll: {tmp_path}/plimsoll.db is in use by another process")


async def test_on_a_full_disk_it_serves_on_refuses_changes_and_recovers(tmp_path: Path) -> None:
    async with serving(tmp_path, [POOL]) as plane:
        assert await plane.call("PUT", f"{PATH}/b", replica(9002)) == 201
        soft, hard = resource.prlimit(plane.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(plane.pid, resource.RLIMIT_FSIZE, (1024, hard))
        assert await plane.call("PUT", f"{PATH}/c", replica(9003)) == 503
        assert await plane.call("DELETE", f"{PATH}/b") == 503
        told = await plane.text("/metrics")
        assert value_of(told, "plimsoll_store_up") == 0
        failed = [cause for cause in Cause if value_of(told, writes(cause))]
        assert len(failed) == 1, told
        # Each of the two that were asked for, and whatever was tried besides.
        assert value_of(told, writes(failed[0])) >= 2
        good = value_of(told, writes("ok"))
        assert {item["id"] for item in (await plane.get(PATH))["replicas"]} == {"a", "b"}
        resource.prlimit(plane.pid, resource.RLIMIT_FSIZE, (soft, hard))
        assert await plane.call("PUT", f"{PATH}/d", replica(9004)) == 201
        told = await plane.text("/metrics")
        assert value_of(told, "plimsoll_store_up") == 1
        assert value_of(told, writes("ok")) > good
        plane.kill()
    async with serving(tmp_path, [POOL]) as plane:
        assert {each["id"] for each in (await plane.get(PATH))["replicas"]} == {"a", "b", "d"}


async def test_a_damaged_file_is_kept_aside_and_the_config_file_is_served(tmp_path: Path) -> None:
    (tmp_path / "plimsoll.db").write_bytes(b"no database" * 1000)
    async with serving(tmp_path, [POOL]) as plane:
        assert {item["id"] for item in (await plane.get(PATH))["replicas"]} == {"a"}
        assert "it is kept as" in (tmp_path / "plimsoll.log").read_text()
    assert (tmp_path / "plimsoll.db.damaged-1").read_bytes() == b"no database" * 1000


async def test_a_stop_of_the_whole_process_costs_no_lease(tmp_path: Path) -> None:
    async with serving(tmp_path, [POOL]) as plane:
        assert await plane.call("PUT", f"{PATH}/b", replica(9002, ttl="3s")) == 201
        os.kill(plane.pid, signal.SIGSTOP)
        time.sleep(5)  # noqa: ASYNC251 - while it stands still there is nobody to talk to
        os.kill(plane.pid, signal.SIGCONT)
        b = await plane.get(f"{PATH}/b")
        assert b["draining"] is None
        # Whoever is not heard of after that is gone all the same.

        async def is_gone() -> bool:
            return bool((await plane.get(f"{PATH}/b"))["draining"])

        await until("the lease runs out", is_gone)
