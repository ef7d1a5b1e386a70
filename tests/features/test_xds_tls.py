"""Who is served over TLS and who is not, by real handshakes; the log is told why."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.service.health.v3 as health_v3
import envoy_data_plane.envoy.service.load_stats.v3 as load_stats_v3
import envoy_data_plane.envoy.service.status.v3 as status_v3
import grpc
import pytest
from grpc.experimental.session_cache import ssl_session_cache_lru

from controlplane.balancing import Place
from controlplane.identity import Admission, Credentials
from controlplane.resources.health_checks import PREFIX, HealthTarget
from controlplane.resources.resource import CLUSTER
from controlplane.resources.views import View
from controlplane.telemetry.load import Endpoint
from controlplane.telemetry.sizes import Sample
from controlplane.xds import (
    ACCESS_LOGS,
    HEALTH_DISCOVERY,
    LOAD_REPORTING,
    SERVICES,
    LoadStats,
    Refused,
    XdsTls,
    server,
)
from controlplane.xds.client_status_service import SERVICE as CLIENT_STATUS
from tests.certificates import DAY, Authority, Leaf, node
from tests.features.xds import Envoy, FixedCatalog, Plane, serving, until
from tests.processes import DEADLINE
from tests.xds.access_logs import entry, logs
from tests.xds.snapshots import snapshot

A = FixedCatalog(snapshot(clusters={"a": "1", "b": "1"}))
CA, OTHER_CA = Authority(), Authority()
SERVER = CA.server()
GOOD = CA.node("sidecar-1")
AGE = 900.0


def credentials(leaf: Leaf = SERVER, ca: Authority = CA) -> Credentials:
    return Credentials(leaf.certificate, leaf.key, ca.root)


def tls(nodes: Mapping[str, Sequence[str]] | None = None, age: float = AGE) -> XdsTls:
    return XdsTls(credentials(), Admission("plimsoll.local", nodes), age)


@asynccontextmanager
async def channel(
    plane: Plane, leaf: Leaf | None = GOOD, **options: Any
) -> AsyncIterator[grpc.aio.Channel]:
    """A connection with this certificate."""
    pair = (leaf.key, leaf.certificate) if leaf else (None, None)
    made = grpc.ssl_channel_credentials(CA.root, *pair)
    # Without this, channels with the same certificate share a connection.
    arguments = [("grpc.use_local_subchannel_pool", 1), *options.items()]
    async with grpc.aio.secure_channel(str(plane.address), made, options=arguments) as opened:
        yield opened


def refusals(plane: Plane) -> list[tuple[str, str]]:
    """Whom the log names as refused, and why."""
    return [(name, event.reason) for name, event in plane.events if isinstance(event, Refused)]


@dataclass
class Sink:
    """Takes all that Envoys report."""

    loads: list[LoadStats] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    health: list[Mapping[Endpoint, bool]] = field(default_factory=list)

    async def reported(self, reporter: object, stats: LoadStats) -> None:
        self.loads.append(stats)

    def came(self, reporter: object, node: str, place: Place) -> None:
        pass

    def left(self, reporter: object) -> None:
        pass

    def sampled(self, samples: Sequence[Sample], place: Place) -> None:
        self.samples += samples

    def to_check(
        self, node: str, view: View, known: tuple[HealthTarget, ...]
    ) -> tuple[HealthTarget, ...]:
        return ()

    def health_seen(self, reporter: object, node: str, healthy: Mapping[Endpoint, bool]) -> None:
        self.health.append(healthy)

    def health_left(self, reporter: object) -> None:
        pass


def load_report(id_: str, *pools: str) -> bytes:
    """Of one request in progress in each pool."""
    address = core_v3.Address(
        socket_address=core_v3.SocketAddress(address="10.0.0.1", port_value=1)
    )
    stats = endpoint_v3.UpstreamEndpointStats(address=address, total_requests_in_progress=1)
    locality = endpoint_v3.UpstreamLocalityStats(upstream_endpoint_stats=[stats])
    clusters = [
        endpoint_v3.ClusterStats(cluster_name=pool, upstream_locality_stats=[locality])
        for pool in pools
    ]
    return bytes(load_stats_v3.LoadStatsRequest(node=core_v3.Node(id=id_), cluster_stats=clusters))


def health_report(*pools: str) -> bytes:
    """Of one healthy replica of each pool."""
    address = core_v3.Address(
        socket_address=core_v3.SocketAddress(address="10.0.0.1", port_value=1)
    )
    health = health_v3.EndpointHealth(
        endpoint=endpoint_v3.Endpoint(address=address), health_status=core_v3.HealthStatus.HEALTHY
    )
    locality = health_v3.LocalityEndpointsHealth(endpoints_health=[health])
    clusters = [
        health_v3.ClusterEndpointsHealth(
            cluster_name=f"{PREFIX}{pool}", locality_endpoints_health=[locality]
        )
        for pool in pools
    ]
    response = health_v3.EndpointHealthResponse(cluster_endpoints_health=clusters)
    return bytes(
        health_v3.HealthCheckRequestOrEndpointHealthResponse(endpoint_health_response=response)
    )


async def asks(opened: grpc.aio.Channel, service: str, id_: str) -> Any:
    """Ask one of the services as a node with this id; returns the call once it is answered."""
    if service == CLIENT_STATUS:
        fetch: Any = opened.unary_unary(f"/{service}/FetchClientStatus")
        return await fetch(bytes(status_v3.ClientStatusRequest()))
    if service == ACCESS_LOGS:
        log: Any = opened.stream_unary(f"/{service}/StreamAccessLogs")()
        # The stream of who is refused at once has ended before anything is written.
        with suppress(asyncio.InvalidStateError):
            sample = Sample("a", "", "10.0.0.1", 1, 1, 0.1, 200)
            await log.write(bytes(logs(entry(sample), node=id_)))
            await log.done_writing()
        return await log
    with suppress(asyncio.InvalidStateError):
        if service == LOAD_REPORTING:
            call: Any = opened.stream_stream(f"/{service}/StreamLoadStats")()
            await call.write(load_report(id_))
        elif service == HEALTH_DISCOVERY:
            call = opened.stream_stream(f"/{service}/StreamHealthCheck")()
            asked = health_v3.HealthCheckRequest(node=core_v3.Node(id=id_))
            await call.write(
                bytes(
                    health_v3.HealthCheckRequestOrEndpointHealthResponse(health_check_request=asked)
                )
            )
        else:
            known = next(item for item in SERVICES if item.name == service)
            client = Envoy(opened, id_, known)
            call = client.call
            await client.request(known.type_url or CLUSTER)
    await until_written(call)
    return call


async def refusal(opened: grpc.aio.Channel, service: str, id_: str) -> grpc.StatusCode:
    """The status with which a service refuses a node.

    A client of grpcio that writes while its stream ends sees INTERNAL instead, so it asks again.
    """
    while True:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await asks(opened, service, id_)
        if raised.value.code() is not grpc.StatusCode.INTERNAL:
            return raised.value.code()


async def until_written(call: Any) -> None:
    """Wait for the first answer; fails with the status of the stream."""
    if await call.read() is grpc.aio.EOF:
        raise AssertionError("the stream has ended")


ANSWERING = [*(this.name for this in SERVICES[:2]), LOAD_REPORTING, ACCESS_LOGS]
"""Services whose first request names a node, and is answered."""
NODES = [*ANSWERING, HEALTH_DISCOVERY]


@pytest.mark.parametrize("service", [*ANSWERING, CLIENT_STATUS])
async def test_a_node_with_a_certificate_is_served(service: str) -> None:
    sink = Sink()
    async with (
        asyncio.timeout(DEADLINE),
        serving(A, tls=tls(), loads=sink, samples=sink, health=sink) as plane,
        channel(plane) as opened,
    ):
        await asks(opened, service, "sidecar-1")
        assert refusals(plane) == []


@pytest.mark.parametrize("service", NODES)
async def test_a_node_that_calls_itself_by_another_id_is_refused(service: str) -> None:
    sink = Sink()
    async with (
        asyncio.timeout(DEADLINE),
        serving(A, tls=tls(), loads=sink, samples=sink, health=sink) as plane,
        channel(plane) as opened,
    ):
        assert await refusal(opened, service, "sidecar-2") is grpc.StatusCode.PERMISSION_DENIED
        why = f"it calls itself 'sidecar-2', and its certificate is of {node('sidecar-1')}"
        assert {*refusals(plane)} == {("sidecar-1", why)}
        assert (plane.server.nodes(), sink.loads, sink.samples) == ((), [], [])


TWO = CA.leaf([node("sidecar-1"), node("sidecar-2")])
ELSEWHERE = CA.leaf(["spiffe://elsewhere/node/sidecar-1"])
UNNAMED = CA.leaf([], common_name="sidecar-1")


@pytest.mark.parametrize("service", [*NODES, CLIENT_STATUS])
@pytest.mark.parametrize(
    ("leaf", "why"),
    [(TWO, "has 2 URIs"), (ELSEWHERE, "'spiffe://elsewhere/node/sidecar-1'"), (UNNAMED, "has 0")],
    ids=["two URIs", "foreign trust domain", "no URI"],
)
async def test_a_certificate_that_names_no_node_is_refused(
    leaf: Leaf, why: str, service: str
) -> None:
    sink = Sink()
    async with (
        asyncio.timeout(DEADLINE),
        serving(A, tls=tls(), loads=sink, samples=sink, health=sink) as plane,
        channel(plane, leaf) as opened,
    ):
        assert await refusal(opened, service, "sidecar-1") is grpc.StatusCode.UNAUTHENTICATED
        ((name, reason),) = {*refusals(plane)}
        assert (name, why in reason) == ("127.0.0.1", True)


@pytest.mark.parametrize(
    ("leaf", "why"),
    [
        (CA.node("sidecar-1", begins=-100, ends=-10), "certificate has expired"),
        (CA.node("sidecar-1", begins=DAY, ends=2 * DAY), "certificate is not yet valid"),
        (OTHER_CA.node("sidecar-1"), "unable to get local issuer certificate"),
        (None, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
    ],
    ids=["expired", "of tomorrow", "foreign root", "none"],
)
async def test_a_handshake_fails_without_a_valid_certificate_of_our_roots(
    leaf: Leaf | None, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with (
        asyncio.timeout(DEADLINE),
        serving(A, tls=tls()) as plane,
        channel(plane, leaf) as opened,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await asks(opened, SERVICES[0].name, "sidecar-1")
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    # `plimsoll serve` makes lines of its own log of what gRPC writes.
    lines = capfd.readouterr().err.splitlines()
    assert any("Handshake failed" in line and why in line for line in lines), lines


async def test_an_expired_certificate_does_not_come_back_by_a_resumed_session() -> None:
    seconds = 6.0
    leaf = CA.node("sidecar-1", ends=seconds)
    ends = time.time() + seconds
    cache = ssl_session_cache_lru(1)  # type: ignore[no-untyped-call]
    # A session is kept under the name of the server, and not under an address.
    options = {"grpc.ssl_session_cache": cache, "grpc.ssl_target_name_override": "localhost"}
    async with asyncio.timeout(DEADLINE), serving(A, tls=tls()) as plane:
        async with channel(plane, leaf, **options) as opened:
            await asks(opened, SERVICES[0].name, "sidecar-1")
        await asyncio.sleep(ends + 1.0 - time.time())
        async with channel(plane, leaf, **options) as opened:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await asks(opened, SERVICES[0].name, "sidecar-1")
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
        why = f"its certificate, of {node('sidecar-1')}, has expired; its TLS session is resumed"
        assert refusals(plane) == [("127.0.0.1", why)]


async def test_a_stream_ends_when_its_certificate_does() -> None:
    sink, now = Sink(), [time.time()]
    async with (
        asyncio.timeout(DEADLINE),
        serving(A, tls=tls(), loads=sink, write_timeout=2.0, wall_clock=lambda: now[0]) as plane,
        channel(plane) as opened,
    ):
        stream = await asks(opened, SERVICES[0].name, "sidecar-1")
        reports = await asks(opened, LOAD_REPORTING, "sidecar-1")
        now[0] += 2 * DAY
        assert "has expired" in await stream.details()
        assert await stream.code() is grpc.StatusCode.UNAUTHENTICATED
        assert await reports.code() is grpc.StatusCode.UNAUTHENTICATED
        assert not any(load.loads for load in sink.loads)


async def test_a_revoked_node_loses_its_stream() -> None:
    security = tls()
    async with (
        asyncio.timeout(DEADLINE),
        serving(A, tls=security, write_timeout=2.0) as plane,
        channel(plane) as opened,
    ):
        stream = await asks(opened, SERVICES[0].name, "sidecar-1")
        security.admission.revoked = lambda name, _serial: name == node("sidecar-1")
        assert "is revoked" in await stream.details()


@pytest.mark.parametrize("service", [LOAD_REPORTING, HEALTH_DISCOVERY, ACCESS_LOGS])
async def test_a_revoked_node_that_says_nothing_more_loses_its_reporting_streams(
    service: str,
) -> None:
    security, sink = tls(), Sink()
    async with (
        asyncio.timeout(DEADLINE),
        serving(A, tls=security, write_timeout=2.0, loads=sink, health=sink, samples=sink) as plane,
        channel(plane) as opened,
    ):
        if service == ACCESS_LOGS:
            stream: Any = opened.stream_unary(f"/{service}/StreamAccessLogs")()
            sample = Sample("a", "", "10.0.0.1", 1, 1, 0.1, 200)
            await stream.write(bytes(logs(entry(sample), node="sidecar-1")))
            await until(lambda: bool(sink.samples))
        else:
            stream = await asks(opened, service, "sidecar-1")
        security.admission.revoked = lambda name, _serial: name == node("sidecar-1")
        assert "is revoked" in await stream.details()
        assert await stream.code() is grpc.StatusCode.UNAUTHENTICATED


def shown(plane: Plane) -> bytes | None:
    """The certificate that the server shows now, to a client that needs no answer."""
    context = ssl.create_default_context(cadata=CA.root.decode())
    context.set_alpn_protocols(["h2"])
    address = plane.address.host, plane.address.port
    with (
        socket.create_connection(address, timeout=DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        return secure.getpeercert(binary_form=True)


async def test_a_renewed_server_certificate_is_shown_and_no_stream_ends() -> None:
    async with (
        asyncio.timeout(DEADLINE),
        serving(A, tls=tls()) as plane,
        channel(plane) as opened,
    ):
        client = Envoy(opened, "sidecar-1")
        await client.request()
        await client.accept()
        before = await asyncio.to_thread(shown, plane)
        renewed = CA.server()
        plane.server.accept(credentials(renewed))
        after = await asyncio.to_thread(shown, plane)
        assert before == ssl.PEM_cert_to_DER_cert(SERVER.certificate.decode())
        assert after == ssl.PEM_cert_to_DER_cert(renewed.certificate.decode())
        plane.show(snapshot(clusters={"a": "2", "b": "1"}))
        assert (await client.accept()).resources == {"a": "2"}


async def test_other_roots_of_clients_count_from_the_next_connection_on() -> None:
    async with (
        asyncio.timeout(DEADLINE),
        serving(A, tls=tls()) as plane,
        channel(plane) as opened,
    ):
        stream = await asks(opened, SERVICES[0].name, "sidecar-1")
        plane.server.accept(credentials(ca=OTHER_CA))
        async with channel(plane, OTHER_CA.node("sidecar-2")) as other:
            await asks(other, SERVICES[0].name, "sidecar-2")
        async with channel(plane) as again:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await asks(again, SERVICES[0].name, "sidecar-1")
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not stream.done()


async def test_a_connection_ends_after_a_while_so_that_a_renewed_certificate_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "CONNECTION_GRACE", 0.1)
    async with (
        asyncio.timeout(DEADLINE),
        serving(A, tls=tls(age=0.5)) as plane,
        channel(plane) as opened,
    ):
        stream = await asks(opened, SERVICES[0].name, "sidecar-1")
        assert await stream.code() is not grpc.StatusCode.OK
        await asks(opened, SERVICES[0].name, "sidecar-1")


async def wants(client: Envoy, **metadata: Any) -> None:
    client.metadata({"plimsoll": metadata})
    await client.request()


async def test_a_node_is_shown_and_may_report_the_pools_that_the_config_lets_it_have() -> None:
    sink = Sink()
    views = {View(("a",)): snapshot(clusters={"a": "1"})}
    catalog = FixedCatalog(A.snapshot, views)
    nodes = {"sidecar-*": ("a",)}
    async with (
        asyncio.timeout(DEADLINE),
        serving(catalog, tls=tls(nodes), loads=sink, samples=sink, health=sink) as plane,
        channel(plane) as opened,
    ):
        client = Envoy(opened, "sidecar-1")
        await client.request()
        assert set((await client.accept()).resources) == {"a"}
        call: Any = opened.stream_stream(f"/{LOAD_REPORTING}/StreamLoadStats")()
        await call.write(load_report("sidecar-1", "a", "b"))
        await until(lambda: bool(sink.loads))
        assert {load.pool for stats in sink.loads for load in stats.loads} == {"a"}
        log: Any = opened.stream_unary(f"/{ACCESS_LOGS}/StreamAccessLogs")()
        entries = [entry(Sample(each, "", "10.0.0.1", 1, 1, 0.1, 200)) for each in ("a", "b")]
        await log.write(bytes(logs(*entries, node="sidecar-1")))
        await log.done_writing()
        await log
        assert [sample.pool for sample in sink.samples] == ["a"]
        health = await asks(opened, HEALTH_DISCOVERY, "sidecar-1")
        await health.write(health_report("a", "b"))
        await until(lambda: bool(sink.health))
        assert {item.pool for seen in sink.health for item in seen} == {"a"}


@pytest.mark.parametrize(
    "metadata",
    [{"pools": ["a", "b"]}, {"listen": {"b": "127.0.0.1:1"}}],
    ids=["pools", "listen"],
)
async def test_a_node_that_wants_another_pool_is_refused(metadata: dict[str, Any]) -> None:
    async with (
        asyncio.timeout(DEADLINE),
        serving(A, tls=tls({"sidecar-1": ("a",)})) as plane,
        channel(plane) as opened,
    ):
        client = Envoy(opened, "sidecar-1")
        await wants(client, **metadata)
        assert await client.call.code() is grpc.StatusCode.PERMISSION_DENIED
        await until(lambda: refusals(plane) == [("sidecar-1", "it may not have pool 'b'")])


async def test_a_node_of_no_pattern_is_refused() -> None:
    async with (
        asyncio.timeout(DEADLINE),
        serving(A, tls=tls({"gateway-*": ("*",)})) as plane,
        channel(plane) as opened,
    ):
        with pytest.raises(grpc.aio.AioRpcError):
            await asks(opened, SERVICES[0].name, "sidecar-1")
        ((_, why),) = refusals(plane)
        assert why == "node 'sidecar-1' is not in xds.tls.nodes"


async def test_a_node_sees_the_status_of_itself_alone() -> None:
    async with (
        asyncio.timeout(DEADLINE),
        serving(A, tls=tls()) as plane,
        channel(plane) as one,
        channel(plane, CA.node("sidecar-2")) as two,
    ):
        for opened, id_ in ((one, "sidecar-1"), (two, "sidecar-2")):
            client = Envoy(opened, id_)
            await client.request()
            await client.accept()
            answer = await asks(opened, CLIENT_STATUS, id_)
            shown = status_v3.ClientStatusResponse.parse(answer)
            assert [item.node.id for item in shown.config if item.node] == [id_]
        assert [(each.id, each.identity) for each in plane.server.nodes()] == [
            (found_one, node(found_one)) for found_one in ("sidecar-1", "sidecar-2")
        ]
