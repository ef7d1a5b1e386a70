"""The client knows the whole API: its endpoints, and every key of every answer."""

from typing import Any, get_args

import pytest
from pydantic import BaseModel

from controlplane.api import answers as served_answers
from controlplane.api import general_answers
from controlplane.client import answers, histories, pools, replicas
from controlplane.client.endpoints import ENDPOINTS, Call, Endpoint
from controlplane.client.pools import PoolList
from tests.api.served import POOL, REPLICA, served
from tests.client.clients import client, sent

PAIRS: list[tuple[type[BaseModel], type[BaseModel]]] = [
    (served_answers.Counts, pools.Counts),
    (served_answers.ReplicaInShort, replicas.ReplicaInShort),
    (served_answers.ClassView, pools.ServedClass),
    (served_answers.SourceView, pools.FoundIn),
    (served_answers.DiscoveryView, pools.Discovery),
    (served_answers.PoolView, pools.Pool),
    (served_answers.PoolList, pools.PoolList),
    (served_answers.LoadReports, replicas.LoadReports),
    (served_answers.Scrape, replicas.Scrape),
    (served_answers.Step, replicas.Step),
    (served_answers.ReplicaView, replicas.Replica),
    (served_answers.ReplicaList, replicas.ReplicaList),
    (served_answers.HistoryEntry, histories.HistoryEntry),
    (served_answers.HistoryView, histories.History),
    (served_answers.Put, answers.Put),
    (served_answers.Changed, answers.Difference),
    (served_answers.PreviewView, answers.Preview),
    (general_answers.NodeList, answers.NodeList),
    (general_answers.EntryView, answers.AuditEntry),
    (general_answers.AuditView, answers.Audit),
    (general_answers.Live, answers.Live),
    (general_answers.Ready, answers.Ready),
]


async def test_the_client_has_every_endpoint_of_the_table_that_the_server_routes_by() -> None:
    async with served() as api:
        table = {
            it.id: Endpoint(
                it.id, it.method, it.path, tuple(it.query.model_fields), it.headers, it.media
            )
            for it in api.server.operations
        }
    known = {it.id: it for it in ENDPOINTS}
    assert known.keys() == table.keys()
    for name, endpoint in table.items():
        assert _sorted(known[name]) == _sorted(endpoint)


def _sorted(endpoint: Endpoint) -> tuple[object, ...]:
    return (
        endpoint.method,
        endpoint.path,
        sorted(endpoint.query),
        endpoint.headers,
        endpoint.media,
    )


async def test_each_endpoint_has_a_method_that_asks_it() -> None:
    async with served() as api, client(api) as here:
        calls = sent(here)
        await here.put_pool("m", POOL)
        await here.put_replica("m", "a", REPLICA | {"ttl": "30s"})
        await here.put_replicas("m", {"b": {"address": "127.0.0.1:9002"}})
        await here.pools()
        await here.pool("m")
        await here.replicas("m")
        await here.replica("m", "a")
        await here.history("m", "a", since="5m")
        await here.drain("m", "a")
        await here.undrain("m", "a")
        await here.heartbeat("m", "a")
        await here.nodes()
        await anext(here.events())
        await here.audit()
        assert "plimsoll_" in await here.metrics()
        assert await here.is_live()
        assert await here.is_ready()
        await here.delete_replica("m", "a", force=True)
        await here.delete_pool("m")
        assert (await here.openapi())["openapi"] == "3.1.0"
    assert {it.endpoint.id for it in calls} - {""} == {it.id for it in ENDPOINTS}
    # What a method sends beside the path is what the endpoint takes.
    for call in calls:
        assert set(call.query) <= set(call.endpoint.query)
        assert set(call.headers) <= set(call.endpoint.headers)


async def test_each_change_that_can_be_tried_has_a_preview() -> None:
    async with served() as api:
        await api.filled()
        tried = {it.id for it in api.server.operations if it.previews is not None}
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
        assert all(it.dry_run for it in found)
        assert found[0].diff[0].after is not None
        assert {it.endpoint.id for it in calls} == tried
        assert api.changes == 0


@pytest.mark.parametrize(("theirs", "ours"), PAIRS, ids=lambda it: it.__name__)
def test_each_key_of_an_answer_is_typed_and_none_is_taken_for_granted_that_may_be_null(
    theirs: type[BaseModel], ours: type[BaseModel]
) -> None:
    # The ETag is a header, and no key.
    fields = {key: it for key, it in ours.model_fields.items() if key != "etag" or not it.exclude}
    assert fields.keys() == theirs.model_fields.keys()
    for key, field in fields.items():
        assert _may_be_null(field.annotation) == _may_be_null(theirs.model_fields[key].annotation)


def _may_be_null(annotation: Any) -> bool:
    return annotation is Any or type(None) in get_args(annotation)


def test_every_answer_of_the_server_is_compared() -> None:
    compared = {theirs for theirs, _ in PAIRS}
    for module in (served_answers, general_answers):
        shapes = {
            it
            for it in vars(module).values()
            if isinstance(it, type)
            and issubclass(it, BaseModel)
            and it.__module__ == module.__name__
        }
        bases = {base for it in shapes for base in it.__mro__[1:]}
        assert shapes - bases - {general_answers.ProblemView} <= compared


async def test_what_was_read_can_be_written_down_as_it_was_sent() -> None:
    async with served() as api:
        await api.filled()
        api.decide()
        async with client(api) as here:
            told = [it.document() for it in await here.replicas("m")]
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
    (read,) = PoolList.of(body).pools
    assert read.balancing.policy == "by-lot"
    assert read.document() == pool
    assert read.settings["colour"] == "red"


def test_a_name_in_a_path_may_hold_anything() -> None:
    call = Call(ENDPOINTS[6], ("a/b", "ü?"), {"limit": None, "label": ("x=1&2", "y"), "on": True})
    assert call.target == "/v1/pools/a%2Fb/replicas/%C3%BC%3F?label=x%3D1%262&label=y&on=true"
