"""How far a change got: when every client that it concerns has answered for it."""

import asyncio
from collections.abc import Hashable, Iterable

from controlplane.fleet import PutPool
from controlplane.xds import Event, PushLatency, Sent
from tests.features.xds import FixedCatalog, envoy, serving, until
from tests.fleet.fleets import a_pool, after, pool_settings, put
from tests.processes import DEADLINE
from tests.resources.decoded import catalog
from tests.xds.snapshots import snapshot

A = FixedCatalog(snapshot(clusters={"a": "1"}))


class Recorder:
    """Keeps who was concerned, how often something was written, and which changes are done."""

    def __init__(self) -> None:
        self.convergence: PushLatency = PushLatency()
        self.concerned: list[int] = []
        self.writes = 0
        self.done = 0

    def begun(self, streams: Iterable[Hashable], noticed_at: float) -> None:
        listed = [*streams]
        self.concerned.append(len(listed))
        self.convergence.begin(len(self.concerned), listed, noticed_at)

    def writing(self, stream: Hashable, node: str, event: Sent) -> None:
        pass

    def happened(self, stream: Hashable, node: str, event: Event) -> None:
        self.writes += isinstance(event, Sent)

    def settled(self, stream: Hashable) -> None:
        self.done += len(self.convergence.settled(stream, len(self.concerned), 0.0))

    def gone(self, stream: Hashable) -> None:
        self.done += len(self.convergence.gone(stream, 0.0))


async def test_a_change_is_done_when_the_last_client_has_answered_be_it_with_a_rejection() -> None:
    recorder = Recorder()
    async with (
        serving(A, pushes=recorder) as plane,
        envoy(plane.address, "one") as one,
        envoy(plane.address, "two") as two,
    ):
        async with asyncio.timeout(DEADLINE):
            for client in (one, two):
                await client.request()
                await client.accept()
            plane.show(snapshot(clusters={"a": "2"}))
            await one.accept()
            got = await two.got()
            assert (recorder.concerned, recorder.writes, recorder.done) == ([2], 4, 0)
            assert plane.server.streams_waiting == 0
            await two.request(response_nonce=got.nonce)
            await until(lambda: recorder.done == 1)
            plane.show(snapshot(clusters={"a": "3"}))
            await one.reject("no")
            await two.accept()
            await until(lambda: recorder.done == 2)


async def test_a_client_that_leaves_is_not_waited_for() -> None:
    recorder = Recorder()
    async with (
        serving(A, pushes=recorder) as plane,
        envoy(plane.address, "stays") as stays,
        envoy(plane.address, "leaves") as leaves,
    ):
        async with asyncio.timeout(DEADLINE):
            for client in (stays, leaves):
                await client.request()
                await client.accept()
            plane.show(snapshot(clusters={"a": "2"}))
            await stays.accept()
            await leaves.got()
            leaves.call.cancel()
            await until(lambda: recorder.done == 1)
            assert plane.server.streams == 1


async def test_only_those_are_concerned_that_are_shown_what_changed() -> None:
    recorder = Recorder()
    fleet = after(PutPool("q", pool_settings(10001)), put("x", 5, pool="q"), fleet=a_pool(a=1))
    held = catalog(fleet)
    async with (
        serving(held, pushes=recorder) as plane,
        envoy(plane.address, "all") as everything,
        envoy(plane.address, "p") as only_p,
        envoy(plane.address, "q") as only_q,
    ):
        async with asyncio.timeout(DEADLINE):
            for client, pools in ((everything, None), (only_p, ["p"]), (only_q, ["q"])):
                if pools:
                    client.metadata({"plimsoll": {"pools": pools}})
                await client.request()
                await client.accept()
            plane.show(catalog(after(put("b", 2), fleet=fleet), previous=held))
            await until(lambda: recorder.concerned == [2])
