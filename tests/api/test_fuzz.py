"""Whatever bytes are put: either all of it is taken, or it is refused in one sentence."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.api.requests import JsonError, read_json
from tests.api.served import POOL, Answer, Served, served

TEXTS = st.text(st.characters(codec=None), max_size=8)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
POOL_KEYS = st.sampled_from(
    ["model", "listener", "route", "objective", "balancing", "health_check", "metrics", "memory"]
)
REPLICA_KEYS = st.sampled_from(["id", "address", "slots", "locality", "labels", "gpu", "ttl"])


@contextmanager
def running() -> Iterator[tuple[asyncio.Runner, Served]]:
    """A server for many examples: hypothesis calls plain functions."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> Served:
            return await (await stack.enter_async_context(served())).filled()

        try:
            yield runner, runner.run(start())
        finally:
            runner.run(stack.aclose())


def check(answer: Answer) -> None:
    """The answer is one of ours, and a refusal is a sentence."""
    if answer.status not in (200, 201):
        assert answer.status in (400, 409, 415, 422)
        assert 0 < len(answer.detail) <= 400
        assert answer.detail.isprintable()


@given(st.binary())
def test_whatever_the_bytes_the_reader_of_json_raises_only_its_own_error(data: bytes) -> None:
    with suppress(JsonError):
        json.dumps(read_json(data), allow_nan=False, ensure_ascii=False).encode()


@given(JSONS)
def test_what_is_read_is_what_everybody_else_reads(value: object) -> None:
    written = json.dumps(value)
    with suppress(JsonError):
        assert read_json(written.encode()) == json.loads(written)


def test_bytes_never_cause_a_fault() -> None:
    with running() as (runner, api):

        @settings(max_examples=50)
        @given(st.binary(max_size=200))
        def put(body: bytes) -> None:
            before = api.plane.fleet
            answer = runner.run(api.send("/v1/pools/m", body))
            assert answer.status in (400, 422)
            check(answer)
            assert api.plane.fleet is before

        put()


def test_json_of_any_shape_never_causes_a_fault() -> None:
    with running() as (runner, api):

        @settings(max_examples=50)
        @given(st.dictionaries(POOL_KEYS | TEXTS, JSONS, max_size=3))
        def put_pool(fields: dict[str, object]) -> None:
            check(runner.run(api.send("/v1/pools/m", json.dumps(POOL | fields).encode())))

        @settings(max_examples=50)
        @given(st.dictionaries(REPLICA_KEYS | TEXTS, JSONS, max_size=3))
        def put_replica(fields: dict[str, object]) -> None:
            body = json.dumps({"address": "127.0.0.1:9003"} | fields).encode()
            check(runner.run(api.send("/v1/pools/m/replicas/c", body)))

        put_pool()
        put_replica()


def test_paths_of_any_bytes_never_cause_a_fault() -> None:
    with running() as (runner, api):

        @settings(max_examples=50)
        @given(st.binary(min_size=1, max_size=20))
        def get(name: bytes) -> None:
            quoted = "".join(f"%{byte:02X}" for byte in name)
            answer = runner.run(api.ask("GET", f"/v1/pools/{quoted}"))
            assert answer.status in (200, 400, 404)

        get()
