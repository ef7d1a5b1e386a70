"""The audit log: who changed what, in the API and as log lines."""

import asyncio
import json

import pytest

from controlplane.edges.rest.audit import AuditLog
from controlplane.fleet import Difference, expire
from controlplane.settings import Role, Token, load_config
from tests.edges.rest.served import POOL, REPLICA, Served, served

PATH = "/v1/pools/m/replicas/a"


async def entries(api: Served, query: str = "", **options: object) -> list[dict[str, object]]:
    found = (await api.ask("GET", f"/v1/audit{query}", **options)).body["entries"]
    assert isinstance(found, list)
    return found


async def test_a_change_says_who_what_when_from_what_to_what() -> None:
    async with served() as api:
        await api.filled()
        await api.ask("PUT", PATH, json=REPLICA | {"slots": 3})
        newest, *_ = await entries(api)
        before, after = newest.pop("before"), newest.pop("after")
        assert newest == {
            "number": 4,
            "at": "1970-01-01T00:01:40.000+00:00",
            "who": "loopback",
            "change": "changed",
            "pool": "m",
            "replica": "a",
        }
        assert isinstance(before, dict)
        assert isinstance(after, dict)
        assert (before["slots"], after["slots"]) == (None, 3)
        assert before | {"slots": 3} == after


async def test_who_is_the_name_of_the_token() -> None:
    text = "a-token-of-gpu-7"
    tokens = (Token.of(text, Role.OPERATE, "gpu-7"),)
    async with served(tokens=tokens) as api:
        headers = {"Authorization": f"Bearer {text}"}
        await api.ask("PUT", "/v1/pools/m", json=POOL, headers=headers)
        (entry,) = await entries(api, headers=headers)
        assert (entry["who"], entry["change"], entry["before"]) == ("gpu-7", "added", None)


async def test_every_way_to_change_something_is_recorded_and_nothing_else_is() -> None:
    async with served() as api:
        await api.filled()
        for method, path, body in (
            ("POST", f"{PATH}/drain", None),
            ("POST", f"{PATH}/drain", None),
            ("POST", f"{PATH}/undrain?dry_run=true", None),
            ("POST", f"{PATH}/undrain", None),
            ("PUT", PATH, REPLICA),
            ("PUT", PATH, REPLICA | {"ttl": "30s"}),
            ("POST", f"{PATH}/heartbeat", None),
            ("PUT", PATH, {"address": "127.0.0.1:9002"}),
            ("DELETE", PATH, None),
            ("DELETE", PATH, None),
            ("PUT", "/v1/pools/m", POOL | {"model": "x"}),
            ("DELETE", "/v1/pools/m", None),
        ):
            await api.ask(method, path, json=body)
        found = [(it["change"], it["replica"]) for it in (await entries(api))[::-1][3:]]
        assert found == [
            ("changed", "a"),
            ("changed", "a"),
            ("changed", "a"),
            ("removed", "a"),
            ("changed", None),
            ("removed", None),
        ]


async def test_changes_that_come_to_be_together_are_each_their_own_askers() -> None:
    tokens = tuple(Token.of(f"a-token-of-{name}", Role.OPERATE, name) for name in ("x", "y"))
    async with served(tokens=tokens) as api:
        headers = [{"Authorization": f"Bearer a-token-of-{name}"} for name in ("x", "y")]
        await api.ask("PUT", "/v1/pools/m", json=POOL, headers=headers[0])
        api.held = asyncio.Event()
        both = [
            asyncio.create_task(
                api.ask(
                    "PUT",
                    f"/v1/pools/m/replicas/{index}",
                    json={"address": f"127.0.0.1:{9001 + index}"},
                    headers=headers[index],
                )
            )
            for index in (0, 1)
        ]
        while len(api.server._watch._claims) < 2:
            await asyncio.sleep(0.01)
        api.held.set()
        await asyncio.gather(*both)
        found = {it["replica"]: it["who"] for it in await entries(api, headers=headers[0])}
        assert found == {"1": "y", "0": "x", None: "x"}


async def test_a_lease_that_runs_out_is_the_control_planes_own_doing() -> None:
    async with served() as api:
        await api.ask("PUT", "/v1/pools/m", json=POOL)
        await api.ask("PUT", PATH, json=REPLICA | {"ttl": "30s"})
        api.now += 30
        api.plane.adopt(expire(api.plane.fleet, api.now), api.now)
        api.decide()
        newest, *_ = await entries(api)
        assert (newest["who"], newest["change"]) == ("control plane", "changed")
        after = newest["after"]
        assert isinstance(after, dict)
        assert after["draining"] == "lease"


async def test_the_config_files_changes_are_its_own() -> None:
    async with served() as api:
        text = "pools: [{name: m, model: x, listener: {address: '127.0.0.1:10000'}}]"
        api.plane.declare(load_config(text, "f"), api.now)
        api.server.look("config file")
        assert [(it["who"], it["pool"]) for it in await entries(api)] == [("config file", "m")]


async def test_pages_go_back_in_time_without_gaps() -> None:
    async with served() as api:
        await api.filled()
        first = (await api.ask("GET", "/v1/audit?limit=2")).body
        assert [it["number"] for it in first["entries"]] == [3, 2]
        rest = (await api.ask("GET", f"/v1/audit?limit=2&before={first['next']}")).body
        assert ([it["number"] for it in rest["entries"]], rest["next"]) == ([1], None)


async def test_every_change_leaves_one_line_of_json(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "controlplane.audit")
    async with served() as api:
        await api.filled()
        caplog.clear()
        await api.ask("POST", f"{PATH}/drain")
        await api.ask("POST", "/v1/pools/m/replicas/q/drain")
        lines = [it.getMessage() for it in caplog.records if it.name == "controlplane.audit"]
        (line,) = map(json.loads, lines)
        assert [line] == (await entries(api))[:1]


def test_the_oldest_entries_make_room() -> None:
    log = AuditLog(lambda: 0.0, kept=3)
    for index in range(5):
        log.record("x", Difference(f"p{index}", None, None, None))
    page, older = log.page(10, None)
    assert ([it.number for it in page], older) == ([5, 4, 3], None)
