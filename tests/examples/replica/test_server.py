"""The server over real sockets, with the real model."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from aiohttp import ClientResponse

from embedding_replica.engine import Engine
from embedding_replica.memory import Memory
from embedding_replica.model import Model

if TYPE_CHECKING:
    from tests.examples.replica.conftest import Client, Gate, Start, Until

ASK = {"model": "all-MiniLM-L6-v2", "input": "a load line"}


async def ready(engine: Engine, model: Model) -> Engine:
    await engine.load(lambda: model)
    return engine


def ask(client: Client, **fields: Any) -> asyncio.Task[ClientResponse]:
    return asyncio.ensure_future(client.post("/v1/embeddings", json=ASK | fields))


Scrape = Callable[["Client"], Awaitable[dict[str, float]]]


@pytest.fixture
def scrape(samples: Callable[[str], dict[str, float]]) -> Scrape:
    async def scraped(client: Client) -> dict[str, float]:
        return samples(await (await client.get("/metrics")).text())

    return scraped


async def test_texts_are_answered_with_the_models_embeddings(start: Start, model: Model) -> None:
    client = await start(await ready(Engine(), model))
    texts = ["a load line", "on a hull"]
    answer = await (await ask(client, input=texts)).json()
    batch = model.tokenise(texts)
    got = [each["embedding"] for each in answer["data"]]
    np.testing.assert_allclose(got, model.embed(batch), atol=1e-6)
    assert [each["index"] for each in answer["data"]] == [0, 1]
    assert answer["model"] == "all-MiniLM-L6-v2"
    assert answer["usage"] == {"prompt_tokens": batch.tokens, "total_tokens": batch.tokens}


async def test_base64_and_token_ids_give_the_same_embedding(start: Start, model: Model) -> None:
    client = await start(await ready(Engine(), model))
    ids = model.tokenise(["a load line"]).ids[0, 1:-1].tolist()
    floats = await (await ask(client)).json()
    encoded = await (await ask(client, input=ids, encoding_format="base64")).json()
    raw = base64.b64decode(encoded["data"][0]["embedding"])
    np.testing.assert_allclose(np.frombuffer(raw, "<f4"), floats["data"][0]["embedding"], atol=1e-6)


async def test_nothing_is_healthy_or_served_before_the_model_is_loaded(
    start: Start, model: Model
) -> None:
    engine = Engine()
    client = await start(engine)
    assert (await client.get("/health")).status == 503
    refused = await ask(client)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert (await refused.json())["error"]["code"] == "model_loading"
    await ready(engine, model)
    assert (await client.get("/health")).status == 200
    assert (await ask(client)).status == 200


async def test_a_draining_replica_is_unhealthy_and_sends_clients_elsewhere(
    start: Start, model: Model
) -> None:
    engine = await ready(Engine(), model)
    client = await start(engine)
    await engine.drain()
    assert (await client.get("/health")).status == 503
    refused = await ask(client)
    assert (refused.status, refused.headers["Connection"]) == (503, "close")


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "code"),
    [
        ("POST", "/v1/embeddings", {"json": ASK | {"model": "x"}}, 404, "model_not_found"),
        ("POST", "/v1/embeddings", {"json": ASK | {"input": ""}}, 400, None),
        ("POST", "/v1/embeddings", {"data": b"input=a"}, 415, "unsupported_media_type"),
        ("POST", "/v1/embeddings", {"json": ASK | {"input": "a" * 2_000_001}}, 413, "too_large"),
        ("GET", "/v1/embeddings", {}, 405, "method_not_allowed"),
        ("GET", "/v2/embeddings", {}, 404, "not_found"),
        ("PUT", "/speed", {"json": {"speed": 0}}, 400, None),
        ("PUT", "/speed", {"json": {"speed": True}}, 400, None),
        ("PUT", "/speed", {"json": [1]}, 400, None),
    ],
)
async def test_errors_are_openais(
    start: Start, model: Model, method: str, path: str, sent: Any, status: int, code: str | None
) -> None:
    client = await start(await ready(Engine(), model))
    refused = await client.request(method, path, **sent)
    error = (await refused.json())["error"]
    assert (refused.status, error["code"]) == (status, code)
    assert error.keys() == {"message", "type", "param", "code"}


async def test_an_unforeseen_failure_is_an_openai_error_too(
    start: Start, scrape: Scrape, model: Model
) -> None:
    engine = await ready(Engine(), model)
    client = await start(engine)
    engine.speed = 0  # Nobody can set this over HTTP; it makes the engine divide by zero.
    failed = await ask(client)
    assert (failed.status, (await failed.json())["error"]["code"]) == (500, "internal")
    assert (await scrape(client))["te_request_failure,inference"] == 1


async def test_texts_beyond_the_permits_are_turned_away(
    start: Start, scrape: Scrape, model: Model, gate: Gate, until: Until
) -> None:
    engine = await ready(Engine(budget=1, permits=2, sleep=gate.sleep), model)
    client = await start(engine)
    gate.shut()
    accepted = [ask(client), ask(client)]
    await until(lambda: gate.asleep == 1 and engine.waiting == 1)
    assert (await scrape(client))["te_queue_size"] == 1
    refused = await ask(client)
    assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
    gate.open()
    assert [answer.status for answer in await asyncio.gather(*accepted)] == [200, 200]
    assert (await scrape(client))["te_request_failure,overloaded"] == 1


async def test_a_client_that_goes_away_leaves_the_queue(
    start: Start, model: Model, gate: Gate, until: Until
) -> None:
    engine = await ready(Engine(budget=1, sleep=gate.sleep), model)
    client = await start(engine)
    gate.shut()
    first, second = ask(client), ask(client)
    await until(lambda: gate.asleep == 1 and engine.waiting == 1)
    second.cancel()
    first.cancel()
    await until(lambda: engine.waiting == 0)
    gate.open()


async def test_health_is_answered_while_a_batch_computes(
    start: Start, model: Model, gate: Gate, until: Until
) -> None:
    client = await start(await ready(Engine(budget=1, sleep=gate.sleep), model))
    gate.shut()
    busy = ask(client)
    await until(lambda: gate.asleep == 1)
    assert (await client.get("/health")).status == 200
    gate.open()
    assert (await busy).status == 200


async def test_only_embedding_requests_that_succeed_are_timed(
    start: Start, scrape: Scrape, model: Model
) -> None:
    client = await start(await ready(Engine(), model))
    await ask(client)
    await ask(client, input=["a", "b"])
    await ask(client, input="")
    await client.get("/health")
    seen = await scrape(client)
    assert seen["te_request_duration_count"] == 2
    assert (seen["te_request_count,single"], seen["te_request_count,batch"]) == (1, 1)
    assert seen["te_request_failure,validation"] == 1


async def test_time_in_the_queue_counts_as_part_of_a_request(
    start: Start, scrape: Scrape, model: Model, gate: Gate, until: Until
) -> None:
    engine = await ready(Engine(budget=1, sleep=gate.sleep), model)
    client = await start(engine)
    gate.shut()
    both = [ask(client), ask(client)]
    await until(lambda: gate.asleep == 1 and engine.waiting == 1)
    gate.open()
    await asyncio.gather(*both)
    seen = await scrape(client)
    stages = ("tokenization", "queue", "inference")
    parts = sum(seen[f"te_request_{stage}_duration_sum"] for stage in stages)
    assert seen["te_request_queue_duration_sum"] > 0
    assert seen["te_request_duration_sum"] >= parts


async def test_a_batch_beyond_the_gpus_memory_fails_and_the_next_one_is_served(
    start: Start, scrape: Scrape, model: Model
) -> None:
    engine = await ready(Engine(memory=Memory(model.weights_bytes + 2**20)), model)
    client = await start(engine)
    refused = await ask(client, input="long " * 300)
    error = (await refused.json())["error"]
    assert (refused.status, error["code"]) == (424, "out_of_memory")
    assert "CUDA out of memory" in error["message"]
    assert (await ask(client)).status == 200
    seen = await scrape(client)
    assert seen["te_request_failure,inference"] == 1
    charged = model.activation_bytes(model.tokenise([str(ASK["input"])]))
    assert seen["te_gpu_memory_used_bytes,GPU-1"] == model.weights_bytes + charged


async def test_speed_can_be_read_and_changed(start: Start, model: Model) -> None:
    engine = await ready(Engine(), model)
    client = await start(engine)
    assert await (await client.get("/speed")).json() == {"speed": 1}
    assert await (await client.put("/speed", json={"speed": 0.5})).json() == {"speed": 0.5}
    assert engine.speed == 0.5


async def test_the_model_is_listed(start: Start) -> None:
    client = await start(Engine())
    listed = await (await client.get("/v1/models")).json()
    assert [each["id"] for each in listed["data"]] == ["all-MiniLM-L6-v2"]
