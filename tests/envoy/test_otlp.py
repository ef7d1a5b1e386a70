"""Real Envoys and a collector: traces go on over every Envoy, and records of requests arrive."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
import trustme

from controlplane.config import Address
from controlplane.resources.bootstrap import bootstrap
from tests.authority import Files
from tests.envoy.collector import Collector, attributes, collecting
from tests.envoy.mesh import ingress
from tests.envoy.pools import pool_of, serves
from tests.processes import Envoy, free_port, serving, sidecar, started_envoy, until
from tests.replica import FakeReplica, replica

POOL = "p"
PARENT = "b7ad6b7169203331"
SAMPLED, UNSAMPLED = "01", "00"
GATEWAY_PATH = f"/{POOL}/v1/embeddings"


@asynccontextmanager
async def envoys(
    folder: Path, target: FakeReplica, otlp: Mapping[str, Any] | None
) -> AsyncIterator[dict[str, Envoy]]:
    """A sidecar, a gateway and an ingress in front of one replica."""
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(serving(folder, [pool_of(POOL, target)], otlp=otlp))
        gateway = Address("127.0.0.1", free_port())
        data = bootstrap("gateway", plane.xds, admin_port=free_port(), gateway=gateway)
        found = {
            "sidecar": await stack.enter_async_context(sidecar(folder, plane.xds, [POOL])),
            "gateway": await stack.enter_async_context(
                started_envoy(folder, "gateway", data, {POOL: gateway.port})
            ),
            "ingress": await stack.enter_async_context(
                ingress(folder, plane.xds, POOL, free_port(), target.address, None)
            ),
        }

        async def all_serve() -> bool:
            return [await ask(found, name) for name in found] == [200, 200, 200]

        await until("every Envoy serves", all_serve)
        yield found


async def ask(found: Mapping[str, Envoy], name: str, **headers: str) -> int:
    path = GATEWAY_PATH if name == "gateway" else "/v1/embeddings"
    return await found[name].post(POOL, headers=headers, path=path)


def parent(trace: str, flags: str) -> str:
    return f"00-{trace}-{PARENT}-{flags}"


async def test_a_trace_goes_on_over_every_kind_of_envoy_if_it_is_sampled(tmp_path: Path) -> None:
    async with replica() as target, collecting() as collector:
        otlp = {"address": collector.address, "sampling": "0%"}
        async with envoys(tmp_path, target, otlp) as found:
            for name in found:
                await _goes_on(found, name, target, collector)
        # What brought no traceparent was not sampled, and neither was what said so.
        assert {span.trace_id.hex()[:4] for span in collector.spans} == {"abcd"}
        assert collector.services == {"plimsoll-envoy"}


async def _goes_on(
    found: Mapping[str, Envoy], name: str, target: FakeReplica, collector: Collector
) -> None:
    unsampled, sampled = uuid4().hex, f"abcd{uuid4().hex[4:]}"
    assert await ask(found, name, traceparent=parent(unsampled, UNSAMPLED)) == 200
    assert target.headers["traceparent"].split("-")[1::2] == [unsampled, UNSAMPLED]
    own = str(uuid4())
    headers = {"traceparent": parent(sampled, SAMPLED), "tracestate": "a=b", "x-request-id": own}
    assert await ask(found, name, **headers) == 200
    received = target.headers
    assert received["traceparent"].split("-")[1::2] == [sampled, SAMPLED]
    assert received["tracestate"] == "a=b"
    # A gateway makes ids of its own.
    assert (received["x-request-id"] == own) == (name != "gateway")

    async def has_come() -> bool:
        return len(collector.of_trace(sampled)) == 2

    await until(f"the spans of the {name} come", has_come)
    spans = {item.span_id.hex(): item for item in collector.of_trace(sampled)}
    at_replica = received["traceparent"].split("-")[2]
    tried = spans[at_replica]
    assert attributes(tried.attributes)["upstream_address"] == target.address
    request = spans[tried.parent_span_id.hex()]
    assert request.parent_span_id.hex() == PARENT
    assert attributes(request.attributes)["node_id"] == name


async def test_without_a_collector_a_traceparent_arrives_as_it_was_sent(tmp_path: Path) -> None:
    async with replica() as target, envoys(tmp_path, target, None) as found:
        for name in found:
            sent = parent(uuid4().hex, SAMPLED)
            assert await ask(found, name, traceparent=sent) == 200
            assert target.headers["traceparent"] == sent


async def test_a_record_of_every_request_says_what_the_log_says(tmp_path: Path) -> None:
    async with replica() as target, collecting() as collector:
        otlp = {"address": collector.address, "sampling": "100%", "access_log": True}
        async with (
            serving(tmp_path, [pool_of(POOL, target)], otlp=otlp) as plane,
            sidecar(tmp_path, plane.xds, [POOL]) as envoy,
        ):

            async def serves() -> bool:
                return await envoy.post(POOL) == 200

            await until("it serves", serves)
            assert await envoy.post(POOL, headers={"x-request-id": "mine"}) == 200

            async def has_come() -> bool:
                return any(
                    attributes(record.attributes)["request_id"] == "mine"
                    for record in collector.records
                )

            await until("the record comes", has_come)
            record = next(
                item
                for item in collector.records
                if attributes(item.attributes)["request_id"] == "mine"
            )
            said = attributes(record.attributes)
            assert (said["status"], said["cluster"], said["replica"]) == ("200", POOL, "r0")
            assert (said["flags"], said["upstream"]) == ("-", target.address)
            assert record.trace_id.hex() == said["trace_id"]
            assert record.body.string_value == "POST /v1/embeddings 200"

            async def has_span() -> bool:
                return bool(collector.of_trace(said["trace_id"]))

            await until("its span comes", has_span)


@pytest.mark.parametrize(("name", "comes"), [("collector.test", True), ("other.test", False)])
async def test_over_tls_spans_go_to_a_collector_of_that_name_and_to_no_other(
    tmp_path: Path, name: str, *, comes: bool
) -> None:
    files = Files(tmp_path / "tls", trustme.CA(), "collector.test")
    pair = files.key.read_bytes(), files.certificate.read_bytes()
    async with replica() as target, collecting(grpc.ssl_server_credentials([pair])) as collector:
        tls = {"ca": str(files.ca), "server_name": name}
        otlp = {"address": collector.address, "sampling": "100%", "tls": tls}
        async with (
            serving(tmp_path, [pool_of(POOL, target)], otlp=otlp) as plane,
            sidecar(tmp_path, plane.xds, [POOL]) as envoy,
        ):

            async def is_over() -> bool:
                await envoy.post(POOL)
                if comes:
                    return bool(collector.spans)
                return await envoy.stat("cluster._otlp.ssl.fail_verify_san") > 0

            await until("spans come" if comes else "the certificate is refused", is_over)
            assert bool(collector.spans) == comes


async def test_such_a_part_of_the_requests_is_traced_as_is_said(tmp_path: Path) -> None:
    async with replica() as target, collecting() as collector:
        otlp = {"address": collector.address, "sampling": "25%"}
        async with (
            serving(tmp_path, [pool_of(POOL, target)], otlp=otlp) as plane,
            sidecar(tmp_path, plane.xds, [POOL]) as envoy,
        ):
            await until("it serves", lambda: serves(envoy, POOL))
            sent = [await envoy.post(POOL) for _ in range(400)]
            assert {*sent} == {200}
            # What comes last says that all before it has come.
            last = f"abcd{uuid4().hex[4:]}"
            await envoy.post(POOL, headers={"traceparent": parent(last, SAMPLED)})

            async def all_came() -> bool:
                return bool(collector.of_trace(last))

            await until("the spans come", all_came)
    traces = {span.trace_id for span in collector.spans}
    # Of 400, six standard deviations around 100.
    assert 48 < len(traces) < 153


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_requests_are_answered_while_no_collector_is_there(tmp_path: Path, host: str) -> None:
    otlp = {"address": f"{host}:{free_port()}", "sampling": "100%", "access_log": True}
    async with (
        replica() as target,
        serving(tmp_path, [pool_of(POOL, target)], otlp=otlp) as plane,
        sidecar(tmp_path, plane.xds, [POOL]) as envoy,
    ):

        async def drops() -> bool:
            assert await envoy.post(POOL) in (0, 200)
            return await envoy.stat("access_logs.open_telemetry_access_log.logs_dropped") > 0 or (
                await envoy.stat("cluster._otlp.upstream_cx_connect_fail") > 0
            )

        await until("Envoy cannot send", drops)
        assert {await envoy.post(POOL) for _ in range(20)} == {200}
