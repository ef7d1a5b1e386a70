"""The client knows the whole API: a method for each operation, and what is sent for it."""

import pytest

from controlplane.api.schema.operations import GET_REPLICA, OPERATIONS
from controlplane.api.schema.pools import PoolList
from controlplane.client import NotFoundError
from controlplane.client.connection import Call
from tests.api.served import POOL, REPLICA, served
from tests.client.clients import client, sent


async def test_each_operation_has_a_method_that_asks_it() -> None:
    async with served() as api, client(api) as here:
        calls = sent(here)
        await here.put_pool("m", POOL)
        await here.put_replica("m", "a", REPLICA | {"ttl": "30s"})
        await here.put_replicas("m", {"b": {"address": "127.0.0.1:9002"}})
        await here.pools()
        await here.pool("m")
        await here.scaling("m")
        await here.pool_history("m", since="5m")
        await here.resources("m")
        await here.node_resources({}, {"zone": "a"})
        await here.who_am_i()
        await here.replicas("m")
        await here.replica("m", "a")
        await here.history("m", "a", since="5m")
        await here.drain("m", "a")
        await here.undrain("m", "a")
        await here.heartbeat("m", "a")
        await here.nodes()
        await anext(here.events())
        await here.audit()
        with pytest.raises(NotFoundError):
            await here.join("web-1", "a request", token="a token")  # noqa: S106
        assert "plimsoll_" in await here.metrics()
        assert await here.is_live()
        assert await here.is_ready()
        await here.delete_replica("m", "a", force=True)
        await here.delete_pool("m")
        assert (await here.openapi())["openapi"] == "3.1.0"
    assert {item.operation.id for item in calls} - {""} == {each.id for each in OPERATIONS}
    # A method sends only the parameters and headers that the operation takes.
    for call in calls:
        assert set(call.query) <= set(call.operation.query.model_fields)
        assert set(call.headers) <= set(call.operation.headers)


async def test_each_change_that_can_be_tried_has_a_preview() -> None:
    async with served() as api:
        await api.filled()
        tried = {each.id for each in OPERATIONS if each.has_preview}
        async with client(api) as here:
            calls, preview = sent(here), here.preview
            found = [
                await preview.put_pool("n", POOL | {"listener": {"address": "127.0.0.1:1"}}),
                await preview.delete_pool("m"),
                await preview.put_replica("m", "c", {"address": "127.0.0.1:9003"}),
                await preview.put_replicas("m", {"c": {"address": "127.0.0.1:9003"}}),
                await preview.delete_replica("m", "a", force=True),
                await preview.drain("m", "a"),
                await preview.undrain("m", "a"),
            ]
        assert all(item.dry_run for item in found)
        assert found[0].diff[0].after is not None
        assert {call.operation.id for call in calls} == tried
        assert api.changes == 0


async def test_what_was_read_can_be_written_down_as_it_was_sent() -> None:
    async with served() as api:
        await api.filled()
        api.decide()
        async with client(api) as here:
            told = [replica.document() for replica in await here.replicas("m")]
            assert told == (await api.ask("GET", "/v1/pools/m/replicas")).body["replicas"]
            shown = (await here.pool("m")).document()
        assert shown == (await api.ask("GET", "/v1/pools/m")).body


async def test_keys_that_a_newer_server_has_are_kept_and_no_error() -> None:
    async with served() as api:
        await api.filled()
        body = (await api.ask("GET", "/v1/pools")).body
    pool = body["pools"][0]
    pool["balancing"] |= {"policy": "by-lot", "luck": 7}
    pool["replicas"][0] |= {"mood": "good"}
    pool["sources"]["colour"] = "api"
    pool["colour"] = "red"
    (read,) = PoolList.model_validate(body).pools
    assert read.balancing.policy == "by-lot"
    assert read.document() == pool
    assert read.settings["colour"] == "red"


def test_a_name_in_a_path_may_hold_anything() -> None:
    call = Call(GET_REPLICA, ("a/b", "ü?"), {"limit": None, "label": ("x=1&2", "y"), "on": True})
    assert call.target == "/v1/pools/a%2Fb/replicas/%C3%BC%3F?label=x%3D1%262&label=y&on=true"
