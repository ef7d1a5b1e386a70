"""Replicas that are reached over https, and verified by name."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trustme

from controlplane.resources.clusters import IDLE_UPSTREAM
from tests.authority import Files, replaced
from tests.envoy.pools import pool, pool_of, put
from tests.processes import Envoy, Plimsoll, serving, sidecar, until
from tests.replica import FakeReplica, replica


@asynccontextmanager
async def fleet(
    folder: Path, entries: Sequence[dict[str, Any]], **more: Any
) -> AsyncIterator[tuple[Plimsoll, Envoy]]:
    names = [entry["name"] for entry in entries]
    async with (
        serving(folder, entries) as plane,
        sidecar(folder, plane.xds, names, **more) as envoy,
    ):
        yield plane, envoy


def reached(name: str, one: FakeReplica, ca: Path | str, server_name: str | None) -> dict[str, Any]:
    """A pool whose replica r0 is reached over https."""
    return pool_of(name, one, upstream={"tls": {"ca": str(ca), "server_name": server_name}})


async def test_a_replica_gets_requests_if_its_certificate_is_of_the_name(tmp_path: Path) -> None:
    files = Files(tmp_path / "tls", trustme.CA(), "r0", "replica.test")
    other = Files(tmp_path / "other", trustme.CA(), "other.test")
    ended = Files(tmp_path / "ended", trustme.CA(), "replica.test", has_ended=True)
    async with (
        replica(tls=files.server_context()) as one,
        replica(tls=ended.server_context()) as expired,
    ):
        good = [reached("named", one, files.ca, "replica.test"), reached("id", one, files.ca, None)]
        bad = [
            reached("misnamed", one, files.ca, "other.test"),
            reached("foreign", one, other.ca, "replica.test"),
            reached("system", one, "system", "replica.test"),
            reached("expired", expired, ended.ca, "replica.test"),
        ]
        async with fleet(tmp_path, [*good, *bad], protocol="state-of-the-world") as (plane, envoy):

            async def serve() -> bool:
                return all([await envoy.post(item["name"]) == 200 for item in good])

            await until("those of the right name serve", serve)
            served = one.served
            for each in bad:
                assert await envoy.healthy(each["name"]) == set()
                assert await envoy.post(each["name"]) == 503

            async def are_refused() -> bool:
                reasons = {"misnamed": "san", "foreign": "error", "expired": "error"}
                stats = [f"cluster.{name}.ssl.fail_verify_{why}" for name, why in reasons.items()]
                return all([await envoy.stat(stat) > 0 for stat in stats])

            await until("each of the others is refused for its own reason", are_refused)
            assert (one.served, expired.served) == (served, 0)

            async def is_scraped() -> bool:
                found = await plane.get("/v1/pools/named/replicas/r0")
                return found["scrape"]["failure"] is None and found["scrape"]["age_s"] is not None

            await until("metrics come the same way as requests go", is_scraped)


async def test_authority_and_certificates_are_replaced_without_a_failed_request(
    tmp_path: Path,
) -> None:
    old, new = trustme.CA(), trustme.CA()
    files = Files(tmp_path / "tls", old, "replica.test")
    context = files.server_context()
    async with replica(tls=context) as one, replica(tls=context) as two:
        tls = {"ca": str(files.ca), "server_name": "replica.test"}
        entry = pool_of("p", one, two, upstream={"tls": tls}, metrics={"profile": "none"})
        async with fleet(tmp_path, [entry]) as (_, envoy):

            async def both_serve() -> bool:
                return len(await envoy.healthy("p")) == 2 and await envoy.post("p") == 200

            await until("both serve", both_serve)
            statuses: list[int] = []
            is_over = asyncio.Event()

            async def requests() -> None:
                while not is_over.is_set():
                    statuses.extend([await envoy.post("p") for _ in range(5)])
                    # Longer than a connection is kept without a request: the next ones are new.
                    await asyncio.sleep(IDLE_UPSTREAM.total_seconds() + 0.2)

            async with asyncio.TaskGroup() as clients:
                for _ in range(4):
                    clients.create_task(requests())
                # Trust in both comes first, then the certificates, then the old one goes.
                pems = [ca.cert_pem.bytes() for ca in (old, new)]
                updates = await envoy.stat("cluster.p.client_ssl_socket_factory.*by_sds")
                replaced(files.ca, b"".join(pems))

                async def is_taken() -> bool:
                    name = "cluster.p.client_ssl_socket_factory.*by_sds"
                    return await envoy.stat(name) > updates

                await until("the Envoy trusts both", is_taken)
                renewed = Files(tmp_path / "new", new, "replica.test")
                context.load_cert_chain(renewed.certificate, renewed.key)
                handshakes = await envoy.stat("cluster.p.ssl.handshake")

                async def are_new() -> bool:
                    return await envoy.stat("cluster.p.ssl.handshake") > handshakes + 2

                await until("connections show the new certificate", are_new)
                updates = await envoy.stat("cluster.p.client_ssl_socket_factory.*by_sds")
                replaced(files.ca, pems[1])
                await until("the Envoy trusts the new one alone", is_taken)
                count = len(statuses) + 20

                async def went_on() -> bool:
                    return len(statuses) > count

                await until("requests went on", went_on)
                is_over.set()
            assert set(statuses) == {200}


async def test_a_pool_of_replicas_that_speak_http1_stands_beside_one_over_tls(
    tmp_path: Path,
) -> None:
    files = Files(tmp_path / "tls", trustme.CA(), "r0")
    async with replica(tls=files.server_context()) as secured, replica() as plain:
        entries = [reached("secured", secured, files.ca, None), pool_of("plain", plain)]
        async with fleet(tmp_path, entries) as (plane, envoy):

            async def serve() -> bool:
                return all([await envoy.post(entry["name"]) == 200 for entry in entries])

            await until("both serve", serve)
            # A pool that changes over, and one that is told of over the API.
            changed = pool("plain", {"r0": {"address": secured.address}})
            changed["upstream"] = entries[0]["upstream"]
            changed["listener"] = entries[1]["listener"]
            await put(plane, changed)
            served = secured.served

            async def moved() -> bool:
                # Until its address has changed too, the replica is asked for TLS and speaks none.
                return await envoy.post("plain") == 200 and secured.served > served

            await until("requests go to the other replica over TLS", moved)
