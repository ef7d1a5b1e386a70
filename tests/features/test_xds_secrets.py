"""Secrets over real TLS: each client gets its own, by its certificate and nothing that it says."""

import asyncio
from collections.abc import AsyncIterator

import envoy_data_plane.envoy.service.status.v3 as status_v3
import grpc
import pytest

from controlplane.identity import Identity
from controlplane.resources.resource import CLUSTER, SECRET
from controlplane.resources.secret_sources import Secrets
from controlplane.xds import SERVICES
from controlplane.xds.client_status_service import SERVICE as CLIENT_STATUS
from tests.features.test_xds_tls import CA, A, channel, tls
from tests.features.xds import Envoy, Plane, serving
from tests.processes import DEADLINE
from tests.xds.snapshots import resource

NAMES = ("identity", "roots")
ONLY_SECRETS = next(service for service in SERVICES if service.type_url == SECRET)


class Source:
    """Has secrets for everybody, whose contents say whose they are."""

    def __init__(self) -> None:
        self.time = 1
        self._known: dict[tuple[str, int], Secrets] = {}

    def __call__(self, identity: Identity) -> Secrets:
        key = (identity.node, self.time)
        if key not in self._known:
            content = f"of {identity.node}, {self.time}"
            self._known[key] = Secrets(*(resource(SECRET, name, content) for name in NAMES))
        return self._known[key]


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
async def plane(source: Source) -> AsyncIterator[Plane]:
    async with serving(A, tls=tls(), secrets=source) as here:
        yield here


async def test_two_nodes_that_ask_for_the_same_names_get_their_own(plane: Plane) -> None:
    for node in ("a", "b"):
        async with channel(plane, CA.node(node)) as opened:
            envoy = Envoy(opened, node)
            await envoy.want(SECRET, *NAMES)
            got = await envoy.got()
            assert got.resources == dict.fromkeys(NAMES, f"of {node}, 1")


async def test_the_secret_of_another_does_not_exist_by_whatever_name(plane: Plane) -> None:
    async with channel(plane, CA.node("a")) as opened:
        envoy = Envoy(opened, "a")
        names = ["spiffe://plimsoll.local/node/b", "b", "b/identity", "node/b"]
        await envoy.want(SECRET, *names)
        got = await envoy.got()
        assert (got.resources, got.removed) == ({}, sorted(names))


async def test_everything_that_is_wanted_is_ones_own(plane: Plane) -> None:
    async with channel(plane, CA.node("a")) as opened:
        envoy = Envoy(opened, "a")
        await envoy.want(SECRET, "*")
        assert {*(await envoy.got()).resources.values()} == {"of a, 1"}


async def test_a_stream_of_secrets_alone_has_them_too(plane: Plane) -> None:
    async with channel(plane, CA.node("a")) as opened:
        envoy = Envoy(opened, "a", ONLY_SECRETS)
        await envoy.want(SECRET, "identity")
        assert (await envoy.got()).resources == {"identity": "of a, 1"}


async def test_who_calls_itself_another_gets_no_secret(plane: Plane) -> None:
    async with channel(plane, CA.node("a")) as opened:
        envoy = Envoy(opened, "b")
        await envoy.want(SECRET, *NAMES)
        with pytest.raises(grpc.aio.AioRpcError, match="its certificate is of"):
            await envoy.call.read()


async def test_in_plain_text_there_are_none_and_that_is_said_at_once(source: Source) -> None:
    async with (
        serving(A, secrets=source) as plain,
        grpc.aio.insecure_channel(str(plain.address)) as opened,
    ):
        envoy = Envoy(opened, "a")
        await envoy.want(SECRET, *NAMES)
        got = await envoy.got()
        assert (got.resources, got.removed) == ({}, [*NAMES])


async def test_what_is_new_reaches_streams_that_are_open_in_one_response(
    plane: Plane, source: Source
) -> None:
    async with channel(plane, CA.node("a")) as opened:
        envoy = Envoy(opened, "a")
        await envoy.want(SECRET, *NAMES)
        await envoy.answer(await envoy.got())
        assert {secret.node for secret in await plane.server.renew_secrets()} == {"a"}
        source.time = 2
        await plane.server.renew_secrets()
        async with asyncio.timeout(DEADLINE):
            assert (await envoy.got()).resources == dict.fromkeys(NAMES, "of a, 2")


async def test_client_status_shows_that_there_are_secrets_and_not_what_is_in_them(
    plane: Plane,
) -> None:
    async with channel(plane, CA.node("a")) as opened:
        envoy = Envoy(opened, "a")
        await envoy.want(CLUSTER)
        await envoy.answer(await envoy.got())
        await envoy.want(SECRET, *NAMES)
        await envoy.answer(await envoy.got())
        method = f"/{CLIENT_STATUS}/FetchClientStatus"
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = opened.unary_unary(method)
        data = await ask(bytes(status_v3.ClientStatusRequest()))
        assert b"of a, 1" not in data
        (config,) = status_v3.ClientStatusResponse.parse(data).config
        listed = [entry for entry in config.generic_xds_configs if entry.type_url == SECRET]
        assert [(item.name, item.xds_config) for item in listed] == [(name, None) for name in NAMES]
        assert all(each.version_info for each in listed)
