"""The server itself: probes, nodes, its address, its end and its faults."""

import asyncio
import logging

import aiohttp
import pytest

from controlplane.api.changes import Check
from controlplane.api.server import RestServer
from controlplane.binding import BindError
from controlplane.config import Address, AdminSettings
from controlplane.fleet import AuditLog, Command
from controlplane.plane import Plane
from controlplane.resources.resource import CLUSTER, ENDPOINT
from controlplane.xds import Locality, NodeStatus, Rejection, TypeStatus
from tests.api.served import POOL, served
from tests.processes import DEADLINE


async def nothing(_command: Command, _now: float, _check: Check, _who: str) -> None:
    pass


async def metrics(_accept: str) -> tuple[bytes, str]:
    return b"", "text/plain"


def server(address: Address) -> RestServer:
    return RestServer(
        AdminSettings.model_construct(address=address),
        Plane(0.0),
        nodes=lambda: (),
        audit=AuditLog(),
        carry_out=nothing,
        ready=lambda: True,
        metrics=metrics,
    )


async def test_it_lives_whatever_happens_and_is_ready_when_it_is_told_so() -> None:
    async with served() as api:
        api.is_ready = False
        assert (await api.ask("GET", "/livez")).body == {"live": True}
        waiting = await api.ask("GET", "/readyz")
        assert (waiting.status, waiting.body) == (503, {"ready": False})
        api.is_ready = True
        ready = await api.ask("GET", "/readyz")
        assert (ready.status, ready.body) == (200, {"ready": True})


async def test_no_answer_is_kept_by_anybody_on_the_way() -> None:
    async with served() as api:
        await api.filled()
        path = "/v1/pools/m/replicas/a"
        for method, where in (
            ("GET", path),
            ("PUT", "/v1/pools/m"),
            ("POST", f"{path}/drain"),
            ("GET", "/v1/audit"),
            ("GET", "/livez"),
        ):
            answer = await api.ask(method, where, json=POOL if method == "PUT" else None)
            assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store"), where
        missing = await api.ask("GET", "/v1/nothing")
        assert (missing.status, missing.headers["Cache-Control"]) == (404, "no-store")


async def test_an_envoy_shows_what_it_holds_and_what_it_rejected_last() -> None:
    async with served() as api:
        rejection = Rejection(("minilm",), "no port", 88.0)
        types = (
            TypeStatus(CLUSTER, True, 0, "v2", 90.0, "v1", 80.0, 1, rejection),  # noqa: FBT003
            TypeStatus(ENDPOINT, False, 4, "v3", 91.0, "v3", 91.5, 4, None),  # noqa: FBT003
        )
        locality = Locality("eu", "a")
        api.nodes.append(NodeStatus("sidecar", "apps", locality, "envoy", "1.39.3", 40.0, types))
        (node,) = (await api.ask("GET", "/v1/nodes")).body["nodes"]
        assert node["locality"] == {"region": "eu", "zone": "a", "sub_zone": ""}
        assert (node["id"], node["connected_s"], node["in_sync"]) == ("sidecar", 60.0, False)
        clusters, endpoints = node["types"]
        assert clusters == {
            "type_url": CLUSTER,
            "wildcard": True,
            "subscribed": 0,
            "sent": "v2",
            "sent_age_s": 10.0,
            "acknowledged": "v1",
            "acknowledged_age_s": 20.0,
            "in_sync": False,
            "held": 1,
            "refused": [],
            "last_rejection": {"names": ["minilm"], "message": "no port", "age_s": 12.0},
        }
        assert (endpoints["in_sync"], endpoints["last_rejection"]) == (True, None)


async def test_an_address_in_use_is_named_in_one_sentence() -> None:
    async with served() as api:
        with pytest.raises(BindError, match=f"^cannot serve the API on {api.address}: address"):
            await server(api.address).start()


async def test_an_address_of_another_host_cannot_be_served_on() -> None:
    with pytest.raises(BindError, match=r"^cannot serve the API on 192\.0\.2\.1:0: cannot assign"):
        await server(Address("192.0.2.1", 0)).start()


async def test_it_can_be_stopped_before_it_was_started_and_twice() -> None:
    stopped = server(Address("127.0.0.1", 0))
    await stopped.stop(0.1)
    await stopped.start()
    await stopped.stop(0.1)
    await stopped.stop(0.1)


async def test_after_its_end_nobody_listens_and_no_connection_is_left_open() -> None:
    ended = server(Address("127.0.0.1", 0))
    address = await ended.start()
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    await ended.stop(0.1)
    async with asyncio.timeout(DEADLINE):
        await reader.read()
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(address.host, address.port)


async def test_a_body_that_never_ends_does_not_hold_up_the_end() -> None:
    ended = server(Address("127.0.0.1", 0))
    address = await ended.start()
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(
        b"PUT /v1/pools/m HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    )
    assert b"100 Continue" in await reader.readline()
    async with asyncio.timeout(DEADLINE):
        await ended.stop(0.1)
        await reader.read()
    writer.close()


async def test_a_fault_of_ours_is_answered_without_its_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: object) -> None:
        raise RuntimeError("a secret")

    async with served() as api:
        monkeypatch.setattr(api.plane, "apply", broken)
        answer = await api.ask("PUT", "/v1/pools/m", json=POOL)
        assert answer.status == 500
        assert answer.detail == "a fault of the control plane; see its log"
        assert "a secret" in caplog.text
        assert (await api.ask("GET", "/v1/pools")).status == 200


async def test_a_client_that_goes_away_in_the_middle_changes_nothing_and_is_no_fault_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served() as api:
        _, writer = await asyncio.open_connection(api.address.host, api.address.port)
        writer.write(
            b"PUT /v1/pools/m HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        await writer.drain()
        writer.transport.abort()
        async with aiohttp.ClientSession() as other:
            answer = await other.get(f"http://{api.address}/v1/pools")
            assert ((await answer.json())["pools"], api.changes) == ([], 0)
    assert "a fault of the control plane" not in caplog.text


async def test_what_is_no_request_is_one_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with served() as api:
        reader, writer = await asyncio.open_connection(api.address.host, api.address.port)
        writer.write(b"GET /v1/pools HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n")
        async with asyncio.timeout(DEADLINE):
            assert b" 400 " in await reader.readline()
        writer.close()
    (record,) = [each for each in caplog.records if "HTTP request" in each.getMessage()]
    said = "no HTTP request from 127.0.0.1: Invalid character in Content-Length"
    assert record.getMessage().startswith(said)
    assert (record.levelno, record.exc_info) == (logging.INFO, None)
