"""The server that istiod connects to, over real gRPC."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import pytest

from controlplane.config import Address, validated
from controlplane.config.config import IstioSettings
from controlplane.identity import Credentials
from controlplane.istio import IstioServer
from controlplane.latest import Latest
from controlplane.resources.catalog import ALL, Catalog
from controlplane.resources.endpoints import EndpointWeight
from controlplane.xds import Offer
from tests.certificates import Authority
from tests.fleet.fleets import after, put
from tests.istio.client import ENTRY, OTHER, RULE, Istiod, istiod
from tests.istio.decoded import a_pool, catalog

SLOW, FAST = EndpointWeight("tier-1", 100), EndpointWeight("tier-4", 400)
AT = "127.0.0.1:9000"


class Served:
    """A server, and where its catalogs come from."""

    def __init__(self, tls: Credentials | None = None) -> None:
        self._slot: Latest[Offer | None] = Latest(None)
        self._catalog: Catalog | None = None
        body = {"address": "127.0.0.1:0"}
        settings = validated(IstioSettings, body)
        self.server = IstioServer(settings, self._slot, lambda: self._catalog, tls)

    def show(self, shown: Catalog) -> None:
        self._catalog = shown
        self._slot.set(Offer(shown, 0.0))


@asynccontextmanager
async def served(tls: Credentials | None = None) -> AsyncIterator[tuple[Served, Address]]:
    made = Served(tls)
    address = await made.server.start()
    try:
        yield made, address
    finally:
        await made.server.stop()


def a_catalog(endpoint_weight: EndpointWeight = SLOW, before: Catalog | None = None) -> Catalog:
    return catalog(after(put("a", 9000), fleet=a_pool()), {"a": endpoint_weight}, before)


async def test_every_change_reaches_every_istiod() -> None:
    async with served() as (plane, address), istiod(address) as one, istiod(address) as other:
        plane.show(first := a_catalog())
        for client in (one, other):
            await client.until(lambda item=client: item.endpoints() and item.held.get(RULE))  # type: ignore[misc]
            assert client.endpoints()[AT].weight == 100
        assert plane.server.connected == 2
        assert set(plane.server.pools()) == {"p"}
        plane.show(a_catalog(FAST, first))
        for client in (one, other):
            await client.until(lambda each=client: each.endpoints()[AT].weight == 400)  # type: ignore[misc]


async def test_before_there_is_a_catalog_only_what_is_never_there_is_answered() -> None:
    async with served() as (plane, address), istiod(address) as client:
        await client.until(lambda: OTHER in client.held)
        assert client.held.keys() == {OTHER}
        plane.show(a_catalog())
        await client.until(client.endpoints)


async def test_what_istiod_holds_stays_until_all_that_was_lost_is_known_again() -> None:
    lost = replace(a_catalog(), released=frozenset({"p"}))
    async with served() as (plane, address), istiod(address) as client:
        plane.show(lost)
        await client.until(lambda: OTHER in client.held)
        assert client.held.keys() == {OTHER}
        plane.show(replace(lost, released=frozenset({"p", ALL})))
        await client.until(client.endpoints)


async def test_a_pool_that_is_left_out_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with served() as (plane, address), istiod(address) as client:
        plane.show(first := catalog(a_pool("Bad_"), {}))
        await client.until(lambda: ENTRY in client.held)
        plane.show(replace(first))
        async with istiod(address) as other:
            await other.until(lambda: ENTRY in other.held)
    (said,) = [record.message for record in caplog.records if "Bad_" in record.message]
    assert said.startswith("pool Bad_ is not given to istiod: its name cannot begin a host name")


async def test_a_request_that_is_none_ends_its_stream_and_no_other() -> None:
    async with served() as (plane, address), istiod(address) as client:
        async with grpc.aio.insecure_channel(str(address)) as channel:
            broken = Istiod(channel)
            await broken.call.write(b"\xff\xff\xff")
            assert await broken.call.code() is grpc.StatusCode.INVALID_ARGUMENT
        plane.show(a_catalog())
        await client.until(client.endpoints)
        assert plane.server.connected == 1


async def test_istiod_that_leaves_is_forgotten() -> None:
    async with served() as (plane, address):
        async with istiod(address) as client:
            plane.show(a_catalog())
            await client.until(client.endpoints)
        await client.until(lambda: plane.server.connected == 0)
        assert not plane.server.pools()


async def test_with_tls_istiod_shows_no_certificate() -> None:
    authority = Authority()
    leaf = authority.server()
    tls = Credentials(leaf.certificate, leaf.key, None)
    async with served(tls) as (plane, address):
        trusted = grpc.ssl_channel_credentials(authority.root)
        async with istiod(Address("localhost", address.port), trusted) as client:
            plane.show(a_catalog())
            await client.until(client.endpoints)
