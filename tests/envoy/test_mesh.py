"""Real Envoys on both sides of a request: mutual TLS between that of a client and of a replica."""

import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp

from controlplane.ca.certificates import control_plane_uri, key_pem, new_key
from controlplane.ca.folder import CaFolder, NodeFiles
from controlplane.resources.secret_sources import ADS, NodeTls, secret_files
from tests.certificates import DOMAIN, Authority
from tests.certificates import node as node_id
from tests.envoy.faulty import POISON, FaultyReplica
from tests.envoy.load import load
from tests.envoy.mesh import POOL, beside, client_context, ingress, install, meshed, pool_id, serves
from tests.envoy.pools import pool
from tests.processes import Envoy, free_port, serving, sidecar, until
from tests.replica import replica


@asynccontextmanager
async def faulty(folder: Path, count: int) -> AsyncIterator[tuple[Envoy, list[FaultyReplica]]]:
    """A strict pool of replicas that fail in a way of their own, each behind an ingress."""
    authority, replicas = Authority(), [FaultyReplica() for _ in range(count)]
    ports = [free_port() for _ in replicas]
    entries = {
        f"r{i}": {"address": f"127.0.0.1:{each.port}", "ingress": f"127.0.0.1:{ports[i]}"}
        for i, each in enumerate(replicas)
    }
    entry = pool(POOL, entries, mesh={"mode": "strict"}, metrics={"profile": "none"})
    async with AsyncExitStack() as stack:
        for one in replicas:
            await one.start()
            stack.callback(one.die)
        plane = await stack.enter_async_context(serving(folder, [entry]))
        for index, one in enumerate(replicas):
            address = f"127.0.0.1:{one.port}"
            await stack.enter_async_context(
                beside(folder, authority, plane, index, ports[index], address)
            )
        secrets = install(authority, folder / "egress-certs", node_id("egress"))
        egress = await stack.enter_async_context(
            sidecar(folder, plane.xds, [POOL], "egress", secrets=secrets)
        )

        async def all_serve() -> bool:
            healthy = [await egress.healthy(f"{POOL}{end}") for end in ("", "/retries")]
            return all(len(item) == count for item in healthy) and await egress.post(POOL) == 200

        await until("all replicas serve", all_serve)
        yield egress, replicas


async def goes_on(statuses: Counter[int], count: int = 50) -> None:
    """Wait until so many requests more were answered, or not."""
    seen = statuses.total()

    async def has_gone_on() -> bool:
        return statuses.total() > seen + count

    await until("requests go on", has_gone_on)


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


async def test_who_may_use_a_pool_changes_on_connections_that_are_open(tmp_path: Path) -> None:
    async with meshed(tmp_path, "strict", clients=["egress"]) as mesh:
        await serves(mesh.egress, mesh.replicas)
        roots = tmp_path / "egress-certs"
        install(mesh.authority, tmp_path / "other-certs", node_id("other-1"))
        for certificates, is_allowed in (("egress-certs", True), ("other-certs", False)):
            status = await mesh.direct(client_context(roots, tmp_path / certificates))
            assert status == (200 if is_allowed else 403)

        url = f"https://127.0.0.1:{mesh.ports[0]}/v1/embeddings"
        context = client_context(roots, tmp_path / "other-certs")
        connector = aiohttp.TCPConnector(limit=1, ssl=context, keepalive_timeout=600)
        async with aiohttp.ClientSession(trust_env=False, connector=connector) as session:

            async def answers(status: int) -> bool:
                async with session.post(url, json={"input": "a"}) as response:
                    await response.read()
                    return response.status == status

            assert await answers(403)
            handshakes = await mesh.ingresses[0].stat("listener.*.ssl.handshake")
            for clients, status in ((["other-*"], 200), ([], 403), (None, 200)):
                more = {} if clients is None else {"clients": clients}
                await mesh.change(mode="strict", **more)
                await until(f"{clients} gives {status}", partial(answers, status))
            assert await mesh.ingresses[0].stat("listener.*.ssl.handshake") >= handshakes


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


async def test_a_replica_that_is_killed_behind_its_ingress_loses_no_request(tmp_path: Path) -> None:
    async with faulty(tmp_path, 3) as (egress, replicas):
        async with load(egress, POOL) as statuses:
            await goes_on(statuses)
            replicas[0].die()
            await goes_on(statuses, 200)
        assert set(statuses) == {200}


async def test_a_request_that_ends_replicas_ends_no_more_than_two_behind_ingresses(
    tmp_path: Path,
) -> None:
    async with faulty(tmp_path, 4) as (egress, replicas):
        await egress.post(POOL, POISON)
        assert sum(item.is_dead for item in replicas) == 2


async def test_a_replica_that_resets_used_connections_loses_no_request_behind_itsbeside(
    tmp_path: Path,
) -> None:
    async with faulty(tmp_path, 1) as (egress, replicas):
        replicas[0].fault = "resets-reused"
        async with load(egress, POOL) as statuses:
            await goes_on(statuses, 200)
        assert set(statuses) == {200}


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
        plane = await stack.enter_async_context(
            serving(tmp_path, [entry], xds_more={"tls": tls}, identity=identity)
        )
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

            async def is_renewed() -> bool:
                updates = await egress.stats(r"client_ssl_socket_factory.ssl_context_update_by_sds")
                return max(updates.values(), default=0) >= 3

            await until("leaves are renewed", is_renewed)
            await goes_on(statuses)
        assert set(statuses) == {200}
        assert other.served == 0


async def _is_healthy(envoy: Envoy, replica_id: str) -> bool:
    return replica_id in await envoy.healthy(POOL)


async def _is_answered(envoy: Envoy) -> bool:
    return await envoy.post(POOL) == 200
