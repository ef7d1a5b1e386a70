"""What the server answers holds to the models that clients read it with."""

from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel

from controlplane.api.openapi import document
from controlplane.api.schema import answers, pools, replicas
from controlplane.api.schema.answers import Answer as Model
from controlplane.api.schema.operations import OPERATIONS
from controlplane.config import PoolSettings, ReplicaSettings
from controlplane.resources.resource import CLUSTER
from controlplane.telemetry.load import Endpoint, Load
from controlplane.xds import (
    Connected,
    Disconnected,
    Locality,
    Node,
    NodeStatus,
    Rejected,
    Rejection,
    TypeStatus,
)
from tests.api.parted import go, living, parted
from tests.api.served import POOL, REPLICA, Answer, Served, served
from tests.api.test_events import following
from tests.plane.lives import SIZES
from tests.planes import report

POOL_PATH, REPLICAS = "/v1/pools/m", "/v1/pools/m/replicas"


def strict() -> dict[str, Any]:
    """The document, but that no answer may have a key that its model does not declare."""
    described = document()
    for schema in described["components"]["schemas"].values():
        schema["additionalProperties"] = False
    return described


DOCUMENT = strict()


def holds(schema: dict[str, Any], value: Any) -> None:
    jsonschema_rs.validate({**schema, "components": DOCUMENT["components"]}, value)


def is_a(model: str, value: Any) -> None:
    holds({"$ref": f"#/components/schemas/{model}"}, value)


async def asked(api: Served, operation: str, path: str, **options: Any) -> Answer:
    """Ask, and compare what comes back with what the document says of the operation."""
    method, described = next(
        (method.upper(), item)
        for methods in DOCUMENT["paths"].values()
        for method, item in methods.items()
        if item["operationId"] == operation
    )
    answer = await api.ask(method, path, **options)
    content = described["responses"][str(answer.status)]["content"]
    holds(content[answer.content_type]["schema"], answer.body)
    return answer


async def test_every_answer_has_all_keys_of_its_model_and_no_others() -> None:
    async with served() as api:
        settings = POOL | {"objective": {"p99": "1s"}}
        for status in (201, 200):
            replica = REPLICA | {"ttl": "30s", "gpu": {"uuid": "GPU-1"}}
            put = [
                await asked(api, "putPool", POOL_PATH, json=settings),
                await asked(api, "putReplica", f"{REPLICAS}/a", json=replica),
            ]
            assert [item.status for item in put] == [status, status]
        many = {"replicas": [{"id": "b", "address": "127.0.0.1:9002"}]}
        preview = await asked(api, "putReplicas", f"{REPLICAS}?dry_run=true", json=many)
        assert preview.body["diff"]
        await asked(api, "putReplicas", REPLICAS, json=many)
        for action in ("drain", "undrain", "heartbeat"):
            await asked(api, f"{action}Replica", f"{REPLICAS}/a/{action}")
        await asked(api, "deleteReplica", f"{REPLICAS}/b?dry_run=true")
        types = TypeStatus(
            type_url=CLUSTER,
            wildcard=True,
            subscribed=0,
            sent="v2",
            sent_at=90.0,
            acknowledged="v1",
            acknowledged_at=80.0,
            held=1,
            rejection=Rejection(("m",), "no port", 88.0),
        )
        api.nodes.append(NodeStatus("s", "", Locality(), "envoy", "1.40.0", 40.0, (types,)))
        for operation, path in (
            ("listPools", "/v1/pools"),
            ("getPool", POOL_PATH),
            ("getScaling", f"{POOL_PATH}/scaling"),
            ("listReplicas", REPLICAS),
            ("getReplica", f"{REPLICAS}/a"),
            ("listNodes", "/v1/nodes"),
            ("readAudit", "/v1/audit"),
            ("isLive", "/livez"),
            ("isReady", "/readyz"),
        ):
            assert (await asked(api, operation, path)).status == 200
        assert (await asked(api, "getPool", "/v1/pools/q")).status == 404
        assert (await asked(api, "listReplicas", f"{REPLICAS}?limit=x")).status == 400
        assert (await asked(api, "putPool", POOL_PATH, json={"model": 7})).status == 422


async def test_what_is_measured_and_parted_has_the_keys_of_its_models() -> None:
    async with parted() as api:
        at = Endpoint("m", "127.0.0.1", 9001)
        report(api.plane, "envoy", {at: Load(5, 1, 1)}, 1.0, api.now)
        (pool,) = (await asked(api, "listPools", "/v1/pools")).body["pools"]
        assert pool["parting"][0]["match"] is not None
        replica = (await asked(api, "getReplica", f"{REPLICAS}/fast")).body
        assert replica["readings"] is not None
        assert replica["load_reports"] is not None
        assert replica["steps"]
        assert (await asked(api, "getHistory", f"{REPLICAS}/fast/history")).body["entries"]


async def test_every_event_holds_to_its_model() -> None:
    models = {
        "pool": "PoolEvent",
        "replica": "ReplicaEvent",
        "node": "NodeEvent",
        "missed": "MissedEvent",
    }
    async with served() as api:
        await api.filled()
        async with following(api, "unknown-1") as follower:
            is_a(models["missed"], (await follower.next())[1])
            for pool in (await follower.next())[1]["pools"]:
                is_a("Pool", pool)
            await api.ask("PUT", POOL_PATH, json=POOL | {"model": "x"})
            await api.ask("POST", f"{REPLICAS}/a/drain")
            await api.ask("DELETE", f"{REPLICAS}/a")
            api.server.observe("s", Connected(Node(id="s", locality=Locality("eu"))))
            api.server.observe("s", Rejected(CLUSTER, ("m",), "no port"))
            api.server.observe("s", Disconnected("it was stopped"))
            seen = [await follower.next() for _ in range(6)]
    assert [kind for kind, _ in seen] == ["pool", "replica", "replica", "node", "node", "node"]
    for kind, data in seen:
        if kind == "replica" and data["change"] != "removed":
            short = {key: item for key, item in data.items() if key not in ("pool", "change")}
            is_a("ReplicaInShort", short)
            is_a("ReplicaEvent", {key: data[key] for key in ("pool", "id", "change")})
        else:
            is_a(models[kind], data)


async def test_an_event_of_classes_holds_to_its_model() -> None:
    async with served() as api:
        life = living(api)
        async with following(api) as follower:
            await follower.next()
            go(api, life, 60, *SIZES)
            while (event := await follower.next())[0] != "parting":
                pass
    is_a("PartingEvent", event[1])


async def test_the_server_routes_exactly_the_operations_of_the_table() -> None:
    async with served() as api:
        assert [item for item, _ in api.server.routes] == list(OPERATIONS)


@pytest.mark.parametrize(
    ("shown", "settings"),
    [
        (pools.Pool, PoolSettings),
        (replicas.Replica, ReplicaSettings),
        *(
            (var, var.settings_model)
            for module in (answers, pools, replicas)
            for var in vars(module).values()
            if isinstance(var, type) and issubclass(var, Model) and var.settings_model is not None
        ),
    ],
)
def test_what_a_client_reads_of_settings_is_what_can_be_put(
    shown: type[Model], settings: type[BaseModel]
) -> None:
    if shown in (pools.Pool, replicas.Replica):
        assert settings.model_fields.keys() <= shown.model_fields.keys()
    else:
        assert shown.model_fields.keys() <= settings.model_fields.keys()
