"""Real Envoys on both sides of a request: mutual TLS between that of a client and of a replica."""

import json
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import aiohttp

from controlplane.ca.certificates import control_plane_uri, key_pem, new_key
from controlplane.ca.folder import CaFolder, NodeFiles
from controlplane.resources.secret_sources import ADS, NodeTls, secret_files
from tests.certificates import DOMAIN
from tests.certificates import node as node_id
from tests.envoy.http2 import Http2Connection
from tests.envoy.load import goes_on, load
from tests.envoy.mesh import POOL, client_context, ingress, install, meshed, pool_id, serves
from tests.envoy.pools import pool
from tests.processes import Envoy, free_port, serving, sidecar, until
from tests.replica import replica


async def test_requests_are_answered_over_mutual_tls(tmp_path: Path) -> None:
    async with meshed(tmp_path, "strict") as mesh:
        await serves(mesh.egress, mesh.replicas)
        assert await mesh.egress.stat(f"cluster.{POOL}.ssl.handshake") > 0
        # The replica learns who asks; what the client says of that does not reach it.
        headers = {"x-forwarded-client-cert": "URI=spiffe://plimsoll.local/node/liar"}
        assert await mesh.egress.post(POOL, headers=headers) == 200
        seen = mesh.replicas[0].headers["x-forwarded-client-cert"]
        assert seen.endswith(f"URI={node_id('egress')}")
        assert "liar" not in seen


async def test_an_egress_sends_nothing_to_an_ingress_of_another_pool(tmp_path: Path) -> None:
    async with meshed(tmp_path, "strict") as mesh:
        await serves(mesh.egress, mesh.replicas)
        install(mesh.authority, tmp_path / "ingress-0-certs", pool_id("other"))

        async def is_refused() -> bool:
            return not await mesh.egress.healthy(POOL) and await mesh.egress.post(POOL) == 503

        await until("the egress refuses the ingress", is_refused)
        served = mesh.replicas[0].served
        assert await mesh.egress.post(POOL) == 503
        assert mesh.replicas[0].served == served


async def test_a_permissive_pool_takes_both_and_has_replicas_of_both_kinds(tmp_path: Path) -> None:
    async with meshed(tmp_path, "permissive", plain=1) as mesh:
        await serves(mesh.egress, mesh.replicas)
        async with sidecar(tmp_path, mesh.plane.xds, [POOL], "without") as without:
            await serves(without, mesh.replicas)
            for envoy in (mesh.egress, without):
                before = [each.served for each in mesh.replicas]
                assert [await envoy.post(POOL) for _ in range(40)] == [200] * 40
                assert all(
                    item.served > was for item, was in zip(mesh.replicas, before, strict=True)
                )
            assert await mesh.egress.stat(f"cluster.{POOL}.ssl.handshake") > 0
            assert await without.stat(f"cluster.{POOL}.ssl.handshake") == 0
            assert await mesh.direct(None) == 200

            # From now on the one that is plain gets nothing, and nobody who is plain gets anything.
            async with load(mesh.egress, POOL) as statuses:
                await mesh.change(mode="strict")

                async def is_strict() -> bool:
                    return await without.post(POOL) == 503 and await mesh.direct(None) in (0, 403)

                await until("the pool is strict", is_strict)
            assert set(statuses) == {200}

            # The other Envoy may hear of it a moment later.
            async def gets_nothing() -> bool:
                served = mesh.replicas[1].served
                assert [await mesh.egress.post(POOL) for _ in range(20)] == [200] * 20
                return mesh.replicas[1].served == served

            await until("the plain replica gets nothing", gets_nothing)


async def test_a_pool_moves_to_a_mesh_and_back_without_a_failed_request(tmp_path: Path) -> None:
    async with meshed(tmp_path, "off", with_ingress=2) as mesh:
        await serves(mesh.egress, mesh.replicas)
        async with (
            sidecar(tmp_path, mesh.plane.xds, [POOL], "without") as without,
            load(mesh.egress, POOL, rate=100.0) as statuses,
        ):
            for _ in range(2):
                await serves(without, mesh.replicas)
                async with load(without, POOL, rate=100.0) as plain:
                    await mesh.change(mode="permissive")
                    await goes_on(statuses)
                    await goes_on(plain)
                assert plain.keys() == {200}
                await mesh.change(mode="strict")
                await until("the other Envoy gets nothing", partial(_gets, without, 503))
                await goes_on(statuses)
                assert await mesh.egress.stat(f"cluster.{POOL}.ssl.handshake") > 0
                await mesh.change(mode="permissive")
                await until("the other Envoy is answered", partial(_gets, without, 200))
                await mesh.change(mode="off")
                await goes_on(statuses)
        assert statuses.keys() == {200}


async def _gets(envoy: Envoy, status: int) -> bool:
    return await envoy.post(POOL) == status


async def test_who_may_use_a_pool_changes_on_connections_that_are_open(tmp_path: Path) -> None:
    async with meshed(tmp_path, "strict", clients=["egress"]) as mesh:
        await serves(mesh.egress, mesh.replicas)
        roots = tmp_path / "egress-certs"
        install(mesh.authority, tmp_path / "other-certs", node_id("other-1"))
        for certificates, is_allowed in (("egress-certs", True), ("other-certs", False)):
            status = await mesh.direct(client_context(roots, tmp_path / certificates))
            assert status == (200 if is_allowed else 403)

        url = f"https://127.0.0.1:{mesh.ports[0]}/health"
        http1, http2 = (client_context(roots, tmp_path / "other-certs") for _ in range(2))
        connector = aiohttp.TCPConnector(limit=1, ssl=http1, keepalive_timeout=600)
        opened, trace = list[object](), aiohttp.TraceConfig()

        async def count(*event: object) -> None:
            opened.append(event)

        trace.on_connection_create_end.append(count)
        async with (
            aiohttp.ClientSession(
                trust_env=False, connector=connector, trace_configs=[trace]
            ) as session,
            Http2Connection(mesh.ports[0], http2) as connection,
        ):

            async def answer(status: int) -> bool:
                async with session.get(url) as response:
                    await response.read()
                return {response.status, await connection.post()} == {status}

            assert await answer(403)
            for clients, status in ((["other-*"], 200), ([], 403), (None, 200)):
                more = {} if clients is None else {"clients": clients}
                await mesh.change(mode="strict", **more)
                await until(f"{clients} gives {status}", partial(answer, status))
            # The other connection would have failed.
            assert len(opened) == 1


async def test_certificates_and_roots_change_under_load_without_a_failed_request(
    tmp_path: Path,
) -> None:
    async with meshed(tmp_path, "strict", with_ingress=2) as mesh:
        await serves(mesh.egress, mesh.replicas)
        async with load(mesh.egress, POOL) as statuses:
            for _ in range(5):
                for index in range(2):
                    install(mesh.authority, tmp_path / f"ingress-{index}-certs", pool_id(POOL))
                install(mesh.authority, tmp_path / "egress-certs", node_id("egress"))
                await goes_on(statuses)

            async def is_renewed() -> bool:
                return await mesh.egress.stat(f"cluster.{POOL}.*ssl_context_update_by_sds") >= 5

            await until("the egress has the new certificates", is_renewed)
            await goes_on(statuses)
        assert set(statuses) == {200}
        assert len(await mesh.egress.healthy(POOL)) == 2


async def test_envoys_report_requests_of_a_replica_with_an_ingress(tmp_path: Path) -> None:
    async with meshed(tmp_path, "strict", with_ingress=2) as mesh:
        await serves(mesh.egress, mesh.replicas)
        async with load(mesh.egress, POOL) as statuses:

            async def are_counted() -> bool:
                views = [await mesh.plane.get(f"/v1/pools/{POOL}/replicas/r{i}") for i in range(2)]
                return all(
                    view["load_reports"]
                    and view["load_reports"]["rate_rps"] > 0
                    and view["tier"] is not None
                    for view in views
                )

            await until("every replica is reported", are_counted)
        assert set(statuses) == {200}


async def test_the_control_plane_issues_and_renews_the_certificates_of_both_sides(
    tmp_path: Path,
) -> None:
    ca = CaFolder(tmp_path / "ca")
    ca.create(DOMAIN, time.time())

    def files(name: str, uri: str) -> NodeTls:
        content, key = ca.load(time.time()), new_key()
        issued = content.authority.issue(key.public_key(), [uri], now=time.time(), seconds=3600)
        folder = tmp_path / name
        NodeFiles(folder).write(issued.chain, content.roots, key_pem(key))
        certificate, private, roots = (
            str(folder / f"{item}.pem") for item in ("certificate", "key", "roots")
        )
        tls = NodeTls(certificate, private, roots, str(folder), control_plane_uri(DOMAIN))
        for path, secret in secret_files(tls).items():
            (folder / path).write_text(json.dumps(secret))
        return tls

    own = files("control-plane", control_plane_uri(DOMAIN))
    identity = {"ca": {"path": "ca", "leaf_ttl": "12s", "ingresses": {"gpu-*": [POOL]}}}
    port, stranger = free_port(), free_port()
    async with AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(replica()) for _ in range(2)]
        entries = {
            "good": {"address": one.address, "ingress": f"127.0.0.1:{port}"},
            "stranger": {"address": other.address, "ingress": f"127.0.0.1:{stranger}"},
        }
        tls = {"certificate": own.certificate, "key": own.key, "client_ca": own.ca}
        entry = pool(POOL, entries, mesh={"mode": "strict", "clients": ["web-*"]})
        serve = partial(
            serving, tmp_path, [entry], free_port(), xds_more={"tls": tls}, identity=identity
        )
        plane = await stack.enter_async_context(serve())
        # The second is no node of which the config says that it stands beside a replica.
        for node, listen, its in (("gpu-1", port, one), ("laptop", stranger, other)):
            await stack.enter_async_context(
                ingress(
                    tmp_path,
                    plane.xds,
                    POOL,
                    listen,
                    its.address,
                    ADS,
                    node,
                    files(node, node_id(node)),
                )
            )
        egress = await stack.enter_async_context(
            sidecar(
                tmp_path,
                plane.xds,
                [POOL],
                "web-1",
                secrets=ADS,
                tls=files("web-1", node_id("web-1")),
            )
        )
        await until("the replica is healthy", partial(_is_healthy, egress, "good"))
        await until("it is answered", partial(_is_answered, egress))
        async with load(egress, POOL) as statuses:

            async def renewals() -> int:
                found = await egress.stats(r"client_ssl_socket_factory.ssl_context_update_by_sds")
                return max(found.values(), default=0)

            async def are(count: int) -> bool:
                return await renewals() >= count

            await until("leaves are renewed", partial(are, 3))
            await goes_on(statuses)
            # Another control plane has other leaves.
            plane.kill()
            await plane.ended()
            await goes_on(statuses)
            before = await renewals()
            await stack.enter_async_context(serve())
            await until("leaves are renewed again", partial(are, before + 2))
            await goes_on(statuses)
        assert set(statuses) == {200}
        assert other.served == 0


async def _is_healthy(envoy: Envoy, replica_id: str) -> bool:
    return replica_id in await envoy.healthy(POOL)


async def _is_answered(envoy: Envoy) -> bool:
    return await envoy.post(POOL) == 200
