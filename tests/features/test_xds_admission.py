"""What a server does when all Envoys of a fleet connect at once."""

import asyncio
from contextlib import AsyncExitStack

from controlplane.xds import Connected, Disconnected, Sent
from tests.features.xds import Envoy, FixedCatalog, Plane, envoy, serving, until
from tests.processes import DEADLINE
from tests.xds.snapshots import snapshot

A = FixedCatalog(snapshot(clusters={"a": "1"}))


def answered(plane: Plane) -> list[str]:
    """Who was sent something, in this order."""
    return [node for node, event in plane.events if isinstance(event, Sent)]


async def connected(plane: Plane, stack: AsyncExitStack, count: int) -> list[Envoy]:
    """Clients that have asked one after the other, and not read yet."""
    clients, before = [], len(plane.server.nodes())
    for number in range(count):
        client = await stack.enter_async_context(envoy(plane.address, f"sidecar-{number}"))
        await client.request()
        clients.append(client)
        await until(lambda: len(plane.server.nodes()) >= before + len(clients))
    return clients


async def test_only_so_many_catch_up_at_a_time_and_the_others_in_their_turn() -> None:
    async with serving(A, catching_up=2) as plane, AsyncExitStack() as stack:
        async with asyncio.timeout(DEADLINE):
            clients = await connected(plane, stack, 4)
            await until(lambda: len(answered(plane)) >= 2)
            assert answered(plane) == ["sidecar-0", "sidecar-1"]
            await clients[1].accept()
            await until(lambda: len(answered(plane)) >= 3)
            assert answered(plane)[2] == "sidecar-2"
            await clients[0].accept()
            assert (await clients[3].got()).resources == {"a": "1"}


async def test_those_that_have_caught_up_get_their_updates_while_others_wait() -> None:
    async with serving(A, catching_up=1) as plane, AsyncExitStack() as stack:
        async with asyncio.timeout(DEADLINE):
            early = await stack.enter_async_context(envoy(plane.address, "early"))
            await early.request()
            await early.accept()
            await connected(plane, stack, 3)
            plane.show(snapshot(clusters={"a": "2"}))
            assert (await early.got()).resources == {"a": "2"}


async def test_a_client_that_answers_nothing_keeps_nobody_out_for_long() -> None:
    async with serving(A, catching_up=1, patience=0.05) as plane, AsyncExitStack() as stack:
        async with asyncio.timeout(DEADLINE):
            clients = await connected(plane, stack, 3)
            assert (await clients[2].got()).resources == {"a": "1"}


async def test_a_client_that_leaves_gives_its_place_to_the_next() -> None:
    async with serving(A, catching_up=1) as plane, AsyncExitStack() as stack:
        async with asyncio.timeout(DEADLINE):
            clients = await connected(plane, stack, 6)
            for client in clients[:5]:
                client.call.cancel()
            assert (await clients[5].got()).resources == {"a": "1"}


async def test_a_client_that_leaves_while_it_waits_is_reported_to_have_left() -> None:
    async with serving(A, catching_up=1) as plane, AsyncExitStack() as stack:
        async with asyncio.timeout(DEADLINE):
            clients = await connected(plane, stack, 3)
            await until(lambda: answered(plane) == ["sidecar-0"])
            clients[1].call.cancel()
            await until(lambda: plane.server.streams == 2)
            told = [type(event) for node, event in plane.events if node == "sidecar-1"]
            assert told == [Connected, Disconnected]
            # Its place in the line was not one that it could take away with it.
            await clients[0].accept()
            assert (await clients[2].accept()).resources == {"a": "1"}
            late = await stack.enter_async_context(envoy(plane.address, "late"))
            await late.request()
            assert (await late.got()).resources == {"a": "1"}
