"""ETag and If-Match: nobody overwrites what they have not seen."""

import asyncio

import pytest

from tests.api.served import POOL, REPLICA, served

PATH = "/v1/pools/m/replicas/a"
CHANGED = REPLICA | {"slots": 3}


async def test_who_has_not_seen_the_last_change_is_refused_and_told_of_it() -> None:
    async with served() as api:
        await api.filled()
        seen = (await api.ask("GET", PATH)).headers["ETag"]
        changed = await api.ask("PUT", PATH, json=CHANGED, headers={"If-Match": seen})
        assert (changed.status, changed.headers["ETag"] == seen) == (200, False)
        before = api.plane.fleet
        for method, path in (
            ("PUT", PATH),
            ("DELETE", PATH),
            ("POST", f"{PATH}/drain"),
            ("POST", f"{PATH}/undrain"),
            ("POST", f"{PATH}/heartbeat"),
            ("PUT", f"{PATH}?dry_run=true"),
            ("DELETE", f"{PATH}?dry_run=true"),
            ("POST", f"{PATH}/drain?dry_run=true"),
            ("POST", f"{PATH}/undrain?dry_run=true"),
        ):
            body = REPLICA if method == "PUT" else None
            late = await api.ask(method, path, json=body, headers={"If-Match": seen})
            assert late.status == 412
            assert late.headers["ETag"] == changed.headers["ETag"]
            assert late.body["parameter"] == "If-Match"
            assert changed.headers["ETag"] in late.detail
        assert api.plane.fleet is before


async def test_pools_have_etags_as_well() -> None:
    async with served() as api:
        created = await api.ask("PUT", "/v1/pools/m", json=POOL)
        tag = {"If-Match": created.headers["ETag"]}
        await api.ask("PUT", "/v1/pools/m", json=POOL | {"model": "x"})
        assert (await api.ask("PUT", "/v1/pools/m", json=POOL, headers=tag)).status == 412
        assert (await api.ask("DELETE", "/v1/pools/m", headers=tag)).status == 412
        for method in ("PUT", "DELETE"):
            body = POOL if method == "PUT" else None
            tried = await api.ask(method, "/v1/pools/m?dry_run=true", json=body, headers=tag)
            assert tried.status == 412
        tag = {"If-Match": (await api.ask("GET", "/v1/pools/m")).headers["ETag"]}
        assert (await api.ask("DELETE", "/v1/pools/m", headers=tag)).status == 204


async def test_the_etag_is_the_same_after_the_same_put_and_while_weights_move() -> None:
    async with served() as api:
        await api.filled()
        tag = (await api.ask("GET", PATH)).headers["ETag"]
        api.now += 5
        api.decide()
        assert (await api.ask("GET", PATH)).headers["ETag"] == tag
        assert (await api.ask("PUT", PATH, json=REPLICA)).headers["ETag"] == tag
        assert (await api.ask("POST", f"{PATH}/drain")).headers["ETag"] != tag


@pytest.mark.parametrize("given", ["*", '"x", {}', "{}", ' {} , "y"'])
async def test_one_of_several_tags_is_enough(given: str) -> None:
    async with served() as api:
        await api.filled()
        tag = (await api.ask("GET", PATH)).headers["ETag"]
        headers = {"If-Match": given.format(tag)}
        assert (await api.ask("PUT", PATH, json=CHANGED, headers=headers)).status == 200


async def test_a_weak_tag_matches_nothing() -> None:
    async with served() as api:
        await api.filled()
        tag = (await api.ask("GET", PATH)).headers["ETag"]
        headers = {"If-Match": f"W/{tag}"}
        assert (await api.ask("PUT", PATH, json=CHANGED, headers=headers)).status == 412


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("given", ["", "abc", '"a', 'w/"a"', '"a" "b"', '*, "a"', '"é"'])
async def test_what_is_no_list_of_tags_is_refused(header: str, given: str) -> None:
    async with served() as api:
        await api.filled()
        before = api.plane.fleet
        answer = await api.ask("PUT", PATH, json=CHANGED, headers={header: given})
        assert (answer.status, answer.body["parameter"]) == (400, header)
        assert api.plane.fleet is before


async def test_only_what_is_there_matches_a_star() -> None:
    async with served() as api:
        await api.filled()
        new = "/v1/pools/m/replicas/c"
        body = {"address": "127.0.0.1:9003"}
        refused = await api.ask("PUT", new, json=body, headers={"If-Match": "*"})
        assert (refused.status, "there is nothing yet" in refused.detail) == (412, True)
        only_new = {"If-None-Match": "*"}
        assert (await api.ask("PUT", new, json=body, headers=only_new)).status == 201
        assert (await api.ask("PUT", new, json=body, headers=only_new)).status == 412


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
async def test_what_is_not_there_is_not_found_whatever_the_client_believes_of_it(
    query: str,
) -> None:
    async with served() as api:
        await api.filled()
        for method, path in (
            ("DELETE", "/v1/pools/q"),
            ("DELETE", "/v1/pools/m/replicas/q"),
            ("POST", "/v1/pools/m/replicas/q/drain"),
            ("POST", "/v1/pools/m/replicas/q/undrain"),
        ):
            answer = await api.ask(method, path + query, headers={"If-Match": '"x"'})
            assert (answer.status, "there is no" in answer.detail or "has no" in answer.detail) == (
                404,
                True,
            )


@pytest.mark.parametrize(
    ("method", "path", "header"),
    [
        ("PUT", "/v1/pools/m/replicas", "If-Match"),
        ("PUT", "/v1/pools/m/replicas", "If-None-Match"),
        ("DELETE", PATH, "If-None-Match"),
        ("DELETE", "/v1/pools/m", "If-None-Match"),
        ("POST", f"{PATH}/drain", "If-None-Match"),
        ("POST", f"{PATH}/heartbeat", "If-None-Match"),
    ],
)
async def test_a_condition_that_cannot_be_held_is_refused_and_not_ignored(
    method: str, path: str, header: str
) -> None:
    async with served() as api:
        await api.filled()
        before = api.plane.fleet
        body = {"replicas": [{"id": "c", "address": "127.0.0.1:9003"}]}
        answer = await api.ask(method, path, json=body, headers={header: '"x"'})
        assert (answer.status, answer.body["parameter"]) == (400, header)
        assert f"{header} is not taken here" in answer.detail
        assert api.plane.fleet is before


async def test_a_condition_on_what_is_only_read_is_no_error() -> None:
    async with served() as api:
        await api.filled()
        tag = (await api.ask("GET", PATH)).headers["ETag"]
        assert (await api.ask("GET", PATH, headers={"If-None-Match": tag})).status == 200


async def test_of_two_who_saw_the_same_at_the_same_time_only_one_changes_it() -> None:
    async with served() as api:
        await api.filled()
        seen = {"If-Match": (await api.ask("GET", PATH)).headers["ETag"]}
        api.held = asyncio.Event()
        both = [
            asyncio.create_task(api.ask("PUT", PATH, json=REPLICA | {"slots": each}, headers=seen))
            for each in (3, 4)
        ]
        # Both have come as far as to wait.
        while api.waiting < 2:
            await asyncio.sleep(0.01)
        api.held.set()
        assert sorted([(await item).status for item in both]) == [200, 412]


async def test_what_a_client_already_has_is_not_put_again() -> None:
    async with served() as api:
        await api.filled()
        tag = (await api.ask("GET", PATH)).headers["ETag"]
        refused = await api.ask("PUT", PATH, json=CHANGED, headers={"If-None-Match": f'"x", {tag}'})
        assert (refused.status, refused.body["parameter"]) == (412, "If-None-Match")
        other = await api.ask("PUT", PATH, json=CHANGED, headers={"If-None-Match": '"x"'})
        assert other.status == 200


async def test_tags_may_stand_in_several_headers() -> None:
    async with served() as api:
        await api.filled()
        tag = (await api.ask("GET", PATH)).headers["ETag"]
        both = [("If-Match", '"x"'), ("If-Match", tag)]
        assert (await api.ask("PUT", PATH, json=CHANGED, headers=both)).status == 200


async def test_another_process_with_the_same_settings_has_another_etag() -> None:
    async with served() as api:
        await api.filled()
        tag = (await api.ask("GET", PATH)).headers["ETag"]
        await api.ask("DELETE", f"{PATH}?force=true")
        assert (await api.ask("PUT", PATH, json=REPLICA)).headers["ETag"] != tag
