"""The audit log as the API shows it: who changed what."""

import asyncio

import pytest

from controlplane.config import Role, Token
from controlplane.fleet import Change
from tests.api.served import POOL, REPLICA, Served, served

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
        found = [(entry["change"], entry["replica"]) for entry in (await entries(api))[::-1][3:]]
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
        while api.waiting < 2:
            await asyncio.sleep(0.01)
        api.held.set()
        await asyncio.gather(*both)
        found = {entry["replica"]: entry["who"] for entry in await entries(api, headers=headers[0])}
        assert found == {"1": "y", "0": "x", None: "x"}


async def test_pages_go_back_in_time_without_gaps() -> None:
    async with served() as api:
        await api.filled()
        first = (await api.ask("GET", "/v1/audit?limit=2")).body
        assert [entry["number"] for entry in first["entries"]] == [3, 2]
        rest = (await api.ask("GET", f"/v1/audit?limit=2&before={first['next']}")).body
        assert ([entry["number"] for entry in rest["entries"]], rest["next"]) == ([1], None)


async def test_a_page_has_a_hundred_entries_unless_it_is_said_otherwise() -> None:
    async with served() as api:
        noted = [("x", Change(f"p{number}", None, None, None)) for number in range(150)]
        api.audit.add(api.audit.drafted(noted, 0.0))
        found = (await api.ask("GET", "/v1/audit")).body
        assert (len(found["entries"]), found["next"]) == (100, 51)
        assert len((await api.ask("GET", "/v1/audit?limit=150")).body["entries"]) == 150


async def test_a_page_that_ends_with_the_oldest_entry_is_the_last() -> None:
    async with served() as api:
        await api.filled()
        found = (await api.ask("GET", "/v1/audit?limit=3")).body
        assert ([entry["number"] for entry in found["entries"]], found["next"]) == ([3, 2, 1], None)
        beyond = (await api.ask("GET", "/v1/audit?before=1")).body
        assert beyond == {"entries": [], "next": None}


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "before=0", "before=-1", "limit=x"])
async def test_a_page_that_cannot_be_is_refused_with_the_parameter(query: str) -> None:
    async with served() as api:
        answer = await api.ask("GET", f"/v1/audit?{query}")
        assert (answer.status, answer.body["parameter"]) == (400, query.partition("=")[0])
        assert answer.detail
