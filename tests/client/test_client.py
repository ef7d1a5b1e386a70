"""The client against a real server: what it reads, changes and is refused."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any

import pytest
from pydantic import ValidationError

from controlplane import client as package
from controlplane.api.schema.answers import NodeList
from controlplane.client import (
    BadRequestError,
    Client,
    ClientError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    PreconditionFailedError,
    ProblemError,
    TimedOutError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)
from controlplane.client.errors import problem
from controlplane.config import PoolSettings, ReplicaSettings, Role, Token, load_config
from controlplane.plane import Probe
from controlplane.resources.resource import CLUSTER
from controlplane.xds import Locality, NodeStatus, Rejection, TypeStatus
from tests.api.served import POOL, REPLICA, Served, served
from tests.client.clients import client, sent

TOKEN = "s3cret"  # noqa: S105 - of a server that only this test knows


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with served() as here:
        yield await here.filled()


@pytest.fixture
async def here(api: Served) -> AsyncIterator[Client]:
    async with client(api) as made:
        yield made


async def test_a_replica_is_read_with_its_types(api: Served, here: Client) -> None:
    api.plane.probed(api.target("a"), Probe.HEALTHY, api.now)
    api.decide()
    replica = await here.replica("m", "a")
    assert (replica.pool, replica.id, replica.address) == ("m", "a", "127.0.0.1:9001")
    assert (replica.state, replica.share, replica.draining) == ("ready", 1.0, None)
    assert replica.locality.zone is None
    assert replica.steps[0].words
    with pytest.raises(ValidationError, match="frozen"):
        replica.state = "gone"  # type: ignore[misc]


async def test_settings_may_be_models_or_plain_data(api: Served, here: Client) -> None:
    pool = PoolSettings.model_validate(
        {"model": "n", "listener": {"address": "127.0.0.1:10001"}, "objective": {"p99": "250ms"}}
    )
    assert (await here.put_pool("n", pool)).objective is not None
    replica = ReplicaSettings.model_validate({"address": "127.0.0.1:9005", "ttl": "30s"})
    put = await here.put_replica("n", "x", replica)
    assert (put.address, put.ttl) == ("127.0.0.1:9005", "30s")
    many: dict[str, ReplicaSettings | Mapping[str, Any]]
    many = {"x": replica, "y": {"address": "127.0.0.1:9006"}}
    assert await here.put_replicas("n", many) == package.Put(
        added=("y",), changed=(), unchanged=("x",)
    )
    # What nobody has said of them is left to defaults.
    assert put.sources["slots"] == "default"


async def test_lists_come_whole_or_page_by_page(api: Served, here: Client) -> None:
    await here.put_pool("n", POOL | {"listener": {"address": "127.0.0.1:10001"}})
    await here.put_replica("m", "c", {"address": "127.0.0.1:9003", "labels": {"rack": "7"}})
    calls = sent(here)
    assert [item.name async for item in here.each_pool(page=1)] == ["m", "n"]
    assert [each.id async for each in here.each_replica("m", page=2)] == ["a", "b", "c"]
    assert len(calls) == 4
    assert [pool.name for pool in await here.pools()] == ["m", "n"]
    assert [replica.id for replica in await here.replicas("m")] == ["a", "b", "c"]
    assert [replica.id for replica in await here.replicas("m", labels=["rack=7"])] == ["c"]
    assert [entry.id async for entry in here.each_replica("m", labels=["rack"], page=1)] == ["c"]


async def test_the_audit_log_is_read_page_by_page(here: Client) -> None:
    assert (await here.audit(limit=1)).entries[0].replica == "b"
    entries = [item async for item in here.each_audit_entry(page=2)]
    assert [entry.number for entry in entries] == [3, 2, 1]
    assert (entries[-1].pool, entries[-1].replica, entries[-1].change) == ("m", None, "added")


async def test_with_its_etag_a_change_comes_only_to_what_was_read(here: Client) -> None:
    read = await here.replica("m", "a")
    changed = await here.put_replica("m", "a", REPLICA | {"slots": 2}, if_match=read.etag)
    assert changed.etag not in (None, read.etag)
    for change in (
        here.put_replica("m", "a", REPLICA, if_match=read.etag),
        here.drain("m", "a", if_match=read.etag),
        here.undrain("m", "a", if_match=read.etag),
        here.heartbeat("m", "a", if_match=read.etag),
        here.delete_replica("m", "a", if_match=read.etag),
        here.preview.delete_replica("m", "a", if_match=read.etag),
        here.put_replica("m", "a", REPLICA, create=True),
    ):
        with pytest.raises(PreconditionFailedError) as caught:
            await change
        assert caught.value.etag == changed.etag
    pool = await here.pool("m")
    await here.put_pool("m", POOL | {"model": "other"}, if_match=pool.etag)
    for of_pool in (
        here.put_pool("m", POOL, if_match=pool.etag),
        here.put_pool("m", POOL, create=True),
        here.delete_pool("m", if_match=pool.etag),
    ):
        with pytest.raises(PreconditionFailedError):
            await of_pool
    assert (await here.replica("m", "a")).slots == 2


async def test_a_patch_leaves_the_other_settings_and_does_not_override_the_file() -> None:
    file = """
pools:
  - name: m
    model: minilm
    listener: {address: "127.0.0.1:10000"}
    route: {prefix: /v1}
    replicas: [{id: a, address: "127.0.0.1:9001", slots: 2}]
"""
    async with served() as api, client(api) as here:
        api.plane.declare(load_config(file, "file"), api.now)
        patched = await here.patch_replica("m", "a", {"labels": {"rack": "7"}})
        assert (patched.slots, patched.labels) == (2, {"rack": "7"})
        assert patched.sources["slots"] == "file"
        again = await here.patch_replica("m", "a", {"instance": "x"})
        assert (again.labels, again.instance) == ({"rack": "7"}, "x")
        pool = await here.patch_pool("m", {"objective": {"p99": "100ms"}})
        assert pool.route.prefix == "/v1"
        assert pool.sources["route"] == "file"
        # What the file says would outlast the file, had it been put.
        said = api.plane.fleet.pool("m").replica("a").layers.api
        assert said is not None
        assert said.slots is None
        await here.put_replica("m", "b", {"address": "127.0.0.1:9002", "slots": 3})
        other = await here.patch_replica("m", "b", {"instance": "x"})
        assert (other.slots, other.sources["slots"], other.sources["ttl"]) == (3, "api", "default")


async def test_a_patch_is_done_again_when_somebody_else_is_faster(
    here: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, others = here.put_replica, iter((1, 2, 3))

    async def overtaken(pool: str, id_: str, *given: object, **more: object) -> object:
        if (slots := next(others, None)) is not None:
            await put(pool, id_, REPLICA | {"slots": slots})
        return await put(pool, id_, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(here, "put_replica", overtaken)
    patched = await here.patch_replica("m", "a", {"instance": "x"})
    assert (patched.slots, patched.instance) == (3, "x")


async def test_a_patch_of_a_pool_is_done_again_too(
    here: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, others = here.put_pool, iter(("x", "y"))

    async def overtaken(name: str, *given: object, **more: object) -> object:
        if (model := next(others, None)) is not None:
            await put(name, POOL | {"model": model})
        return await put(name, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(here, "put_pool", overtaken)
    patched = await here.patch_pool("m", {"objective": {"p99": "100ms"}})
    assert patched.model == "y"
    assert patched.objective is not None


async def test_a_patch_gives_up_when_somebody_else_always_is(
    here: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, count = here.put_replica, iter(range(1, 100))

    async def overtaken(pool: str, id_: str, *given: object, **more: object) -> object:
        await put(pool, id_, REPLICA | {"slots": next(count)})
        return await put(pool, id_, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(here, "put_replica", overtaken)
    with pytest.raises(PreconditionFailedError):
        await here.patch_replica("m", "a", {"instance": "x"})
    assert next(count) == 6


async def test_force_removes_what_the_guard_of_the_pool_keeps(here: Client) -> None:
    await here.delete_replica("m", "a")
    with pytest.raises(ConflictError, match="force it"):
        await here.delete_replica("m", "b")
    await here.delete_replica("m", "b", force=True)
    assert await here.replicas("m") == ()


async def test_force_moves_most_of_a_pool(here: Client) -> None:
    both = {"a": {"address": "127.0.0.1:9011"}, "b": {"address": "127.0.0.1:9012"}}
    with pytest.raises(ConflictError, match="force it"):
        await here.put_replicas("m", both)
    with pytest.raises(ConflictError, match="force it"):
        await here.preview.put_replicas("m", both)
    assert (await here.preview.put_replicas("m", both, force=True)).diff
    assert (await here.put_replicas("m", both, force=True)).changed == ("a", "b")


async def test_a_connected_envoy_is_read_with_its_types(api: Served, here: Client) -> None:
    rejection = Rejection(("m",), "no port", 88.0)
    status = TypeStatus(
        type_url=CLUSTER,
        wildcard=True,
        subscribed=0,
        sent="v2",
        sent_at=90.0,
        acknowledged="v1",
        acknowledged_at=80.0,
        held=1,
        rejection=rejection,
    )
    api.nodes.append(
        NodeStatus("s", "apps", Locality("eu", "a"), "envoy", "1.40.0", 40.0, (status,))
    )
    (node,) = await here.nodes()
    assert (node.id, node.locality.zone, node.connected_s, node.in_sync) == ("s", "a", 60.0, False)
    (kind,) = node.types
    assert (kind.sent, kind.acknowledged, kind.held) == ("v2", "v1", 1)
    assert kind.last_rejection is not None
    assert kind.last_rejection.names == ("m",)
    sent_by_server = (await api.ask("GET", "/v1/nodes")).body
    assert NodeList.model_validate(sent_by_server).document() == sent_by_server


async def test_readiness_is_no_error_when_it_is_not_there(api: Served, here: Client) -> None:
    assert await here.is_ready()
    api.is_ready = False
    assert not await here.is_ready()


async def test_a_problem_is_an_error_with_all_that_the_document_says(here: Client) -> None:
    with pytest.raises(InvalidError) as caught:
        await here.put_replica("m", "c", REPLICA | {"gpu": {"uuid": 7}})
    error = caught.value
    assert (error.status, error.title, error.pointer) == (
        422,
        HTTPStatus(422).phrase,
        "/gpu/uuid",
    )
    assert error.parameter is None
    assert error.detail == str(error) != ""
    with pytest.raises(BadRequestError) as caught_in_query:
        await here.history("m", "a", since="soon")
    assert caught_in_query.value.parameter == "since"
    with pytest.raises(NotFoundError, match="there is no pool 'q'"):
        await here.pool("q")


async def test_a_token_is_sent_and_what_it_may_not_is_an_error() -> None:
    tokens = (Token.of(TOKEN, Role.READ, "me"),)
    async with served(tokens=tokens) as api:
        async with client(api, f" {TOKEN}\n") as here:
            assert await here.pools() == ()
            with pytest.raises(ForbiddenError):
                await here.put_pool("m", POOL)
        for wrong in (None, "another"):
            async with client(api, wrong) as here:
                with pytest.raises(UnauthorizedError):
                    await here.pools()


@pytest.mark.parametrize("status", range(400, 600, 3))
def test_whatever_the_status_it_is_a_problem(status: int) -> None:
    error = problem(status, {}, {"Retry-After": "30"})
    assert (error.status, error.detail, error.retry_after) == (status, f"HTTP {status}", 30.0)
    assert problem(503, {"detail": "no"}, {"Retry-After": "soon"}).retry_after is None
    assert isinstance(problem(503, {}, {}), UnavailableError)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (
            b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<p>",
            UnexpectedAnswerError,
            "200 with",
        ),
        (
            b"HTTP/1.0 500 No\r\nContent-Type: text/plain\r\n\r\nno",
            UnexpectedAnswerError,
            "500 with",
        ),
        (b"HTTP/1.0 302 No\r\nLocation: /x\r\n\r\n", UnexpectedAnswerError, "302 with"),
        (
            b"HTTP/1.0 500 No\r\nContent-Type: application/problem+json\r\n\r\n[]",
            UnexpectedAnswerError,
            "500 with",
        ),
        (
            b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{",
            UnexpectedAnswerError,
            "JSON",
        ),
        (
            b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + b"[" * 100_000,
            UnexpectedAnswerError,
            "JSON",
        ),
        (
            b'HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{"pools": 1, "next": null}',
            UnexpectedAnswerError,
            "no PoolList: pools: must be a list",
        ),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", UnexpectedAnswerError, "is not a Plimsoll control plane"),
        (b"", UnreachableError, "closed the connection"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
            UnreachableError,
            "closed the connection",
        ),
    ],
)
async def test_another_server_is_not_taken_for_a_control_plane(
    answer: bytes, kind: type[ClientError], words: str
) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as other:
        url = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}"
        async with Client(url) as here:
            with pytest.raises(kind, match=words):
                await here.pools()
            assert not isinstance(kind, ProblemError)


async def test_nobody_there_and_nobody_who_answers_are_errors_that_say_so() -> None:
    # From Python 3.13 on a writer that nobody keeps closes its connection.
    kept: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: kept.append(writer), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    async with Client(url, timeout=0.05) as here:
        with pytest.raises(TimedOutError, match=r"did not answer within 0\.05 s"):
            await here.pools()
    for writer in kept:
        writer.close()
    silent.close()
    await silent.wait_closed()
    async with Client(url) as here:
        with pytest.raises(UnreachableError, match="no control plane answers at http"):
            await here.pools()


@pytest.mark.parametrize(
    "url", ["foo", "127.0.0.1:8080", "ftp://h", "http://", "http://[", "http://h:x", "http://h:0"]
)
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="is not an address such as"):
        Client(url)


@pytest.mark.parametrize("token", ["a\nb", "ä", "a\0"])
def test_a_token_that_no_header_can_carry_is_refused_at_once(token: str) -> None:
    with pytest.raises(ValueError, match="no token may have"):
        Client("http://127.0.0.1", token=token)


async def test_out_of_its_context_it_says_how_it_is_used() -> None:
    with pytest.raises(RuntimeError, match="async with Client"):
        await Client("http://127.0.0.1").pools()


async def test_many_calls_may_be_under_way_at_once(here: Client) -> None:
    found = await asyncio.gather(*(here.replica("m", id_) for id_ in "ab" * 20))
    assert [item.id for item in found] == list("ab" * 20)


def test_every_method_has_a_docstring() -> None:
    for kind in (Client, package.Previews):
        for name in (name for name in dir(kind) if not name.startswith("_")):
            assert getattr(kind, name).__doc__, name
