"""Pages of lists, filters, and what else may stand after the question mark."""

import pytest

from tests.api.served import POOL, Served, served

LABELS = {"a": {"rack": "7"}, "b": {"rack": "8", "gpu": "l4"}, "c": {"rack": "7", "gpu": "h100"}}


async def fill(api: Served) -> Served:
    await api.ask("PUT", "/v1/pools/m", json=POOL)
    # Not in the order of their names.
    for index, id_ in enumerate("cab"):
        body = {"address": f"127.0.0.1:{9001 + index}", "labels": LABELS[id_]}
        await api.ask("PUT", f"/v1/pools/m/replicas/{id_}", json=body)
    return api


async def ids(api: Served, query: str) -> tuple[list[str], str | None]:
    body = (await api.ask("GET", f"/v1/pools/m/replicas{query}")).body
    return [replica["id"] for replica in body["replicas"]], body["next"]


async def test_a_list_comes_in_pages_that_fit_together() -> None:
    async with served() as api:
        await fill(api)
        assert await ids(api, "") == (["a", "b", "c"], None)
        assert await ids(api, "?limit=2") == (["a", "b"], "b")
        assert await ids(api, "?limit=2&after=b") == (["c"], None)
        assert await ids(api, "?limit=3") == (["a", "b", "c"], None)


async def test_a_page_goes_on_after_a_name_that_has_gone_meanwhile() -> None:
    async with served() as api:
        await fill(api)
        await api.ask("DELETE", "/v1/pools/m/replicas/b")
        assert await ids(api, "?limit=1&after=b") == (["c"], None)


async def test_pools_come_in_pages_too() -> None:
    async with served() as api:
        for port, name in enumerate("ba", 10000):
            listener = {"address": f"127.0.0.1:{port}"}
            await api.ask("PUT", f"/v1/pools/{name}", json=POOL | {"listener": listener})
        first = (await api.ask("GET", "/v1/pools?limit=1")).body
        assert ([pool["name"] for pool in first["pools"]], first["next"]) == (["a"], "a")
        last = (await api.ask("GET", "/v1/pools?limit=1&after=a")).body
        assert ([pool["name"] for pool in last["pools"]], last["next"]) == (["b"], None)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?label=rack=7", ["a", "c"]),
        ("?label=gpu", ["b", "c"]),
        ("?label=rack=7&label=gpu", ["c"]),
        ("?label=rack=9", []),
        ("?label=rack=", []),
        ("?label=rac", []),
    ],
)
async def test_only_replicas_with_all_of_the_labels_are_listed(
    query: str, expected: list[str]
) -> None:
    async with served() as api:
        await fill(api)
        assert await ids(api, query) == (expected, None)


async def test_a_page_is_one_of_what_the_filter_leaves() -> None:
    async with served() as api:
        await fill(api)
        assert await ids(api, "?label=rack=7&limit=1") == (["a"], "a")
        assert await ids(api, "?label=rack=7&limit=1&after=a") == (["c"], None)


@pytest.mark.parametrize(
    ("query", "parameter", "says"),
    [
        ("?limit=0", "limit", "'0' is not a whole number from 1 on"),
        ("?limit=-1", "limit", "is not a whole number"),
        ("?limit=1.0", "limit", "is not a whole number"),
        ("?limit=%EF%BC%91", "limit", "is not a whole number"),
        ("?limit=" + "9" * 5000, "limit", "is not a whole number"),
        ("?limit=10001", "limit", "at most 10000, not 10001"),
        ("?limit=1&limit=2", "limit", "stands twice"),
        ("?limit=", "limit", "is not a whole number"),
        ("?after=../x", "after", "must match"),
        ("?label==7", "label", "must match"),
        ("?label=a%00", "label", "must match"),
        ("?" + "&".join(f"label=a{n}" for n in range(33)), "label", "at most 32 entries, not 33"),
        ("?labels=rack=7", "labels", "did you mean 'label'?"),
        ("?x=1", "x", "unknown parameter; known here: limit, after, label"),
    ],
)
async def test_a_parameter_that_is_wrong_is_named(query: str, parameter: str, says: str) -> None:
    async with served() as api:
        await fill(api)
        answer = await api.ask("GET", f"/v1/pools/m/replicas{query}")
        assert (answer.status, answer.body["parameter"]) == (400, parameter)
        assert says in answer.detail
        assert len(answer.detail) < 250


async def test_a_long_parameter_is_not_echoed_in_full() -> None:
    async with served() as api:
        answer = await api.ask("GET", "/v1/pools?" + "k" * 5_000)
        assert (answer.status, len(answer.detail) < 250) == (400, True)
        assert len(answer.body["parameter"]) <= 400


async def test_as_many_labels_as_allowed_are_asked_for() -> None:
    async with served() as api:
        await fill(api)
        assert await ids(api, "?" + "&".join(["label=rack=7"] * 32)) == (["a", "c"], None)


@pytest.mark.parametrize("query", ["?dryrun=true", "?dry_run=yes", "?dry_run=True", "?dry_run="])
async def test_a_dry_run_that_is_misspelt_is_not_carried_out(query: str) -> None:
    async with served() as api:
        await fill(api)
        before = api.plane.fleet
        for method, path in (
            ("DELETE", "/v1/pools/m"),
            ("DELETE", "/v1/pools/m/replicas/a"),
            ("POST", "/v1/pools/m/replicas/a/drain"),
        ):
            assert (await api.ask(method, path + query)).status == 400
        assert api.plane.fleet is before


async def test_where_nothing_may_be_asked_nothing_is_overlooked() -> None:
    async with served() as api:
        for path in ("/v1/nodes", "/livez", "/metrics", "/v1/events"):
            assert (await api.ask("GET", f"{path}?a=1")).status == 400
