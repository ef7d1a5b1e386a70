"""Classes of requests through a real Envoy: each reaches its own replicas, and always somebody."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controlplane.balancing import Place
from controlplane.config import Address, ClassMatch, PoolSettings, validated
from controlplane.fleet import Drain, Fleet, PutPool
from controlplane.resources.bootstrap import Protocol, bootstrap
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.classes import OTHERS, Parting, TrafficClass, cluster_of
from controlplane.resources.endpoints import EndpointWeight
from controlplane.telemetry.load import Endpoint, LoadReports
from controlplane.xds import LoadSink, LoadStats
from tests.envoy.load import load
from tests.envoy.pools import HEALTH_CHECK, PROTOCOLS, pool_of, put, running, serves
from tests.features.xds import Plane, serving
from tests.fleet.fleets import after
from tests.fleet.fleets import put as registered
from tests.processes import Envoy, free_port, sidecar, until
from tests.processes import serving as plimsoll
from tests.replica import FakeReplica, replica

POOL, JOBS = "minilm", "jobs"
TIER = EndpointWeight("tier-1", 100)
JOB = {"x-job": "nightly"}
OF_JOBS = ClassMatch.model_validate({"header": {"name": "x-job", "value": "nightly"}})
LONG = "l" * 5000


@dataclass
class Stage:
    """Four replicas behind an Envoy, and what it is told of their classes.

    Attributes:
        match: Which requests are jobs.
        job: What makes a request one.
    """

    fleet: Fleet
    plane: Plane
    envoy: Envoy
    replicas: list[FakeReplica]
    stops: list[AsyncExitStack]
    match: ClassMatch = OF_JOBS
    job: Mapping[str, Any] = field(default_factory=lambda: {"headers": JOB})
    catalog: Catalog = field(default_factory=Catalog)

    def part(self, jobs: str, *, routed: bool = True) -> None:
        """Give the jobs these replicas, as in ``r0 r1``, and all other requests the others."""
        of_jobs = set(jobs.split())
        own = {id_: weight for id_, weight in self.endpoint_weights.items() if id_ in of_jobs}
        rest = {id_: weight for id_, weight in self.endpoint_weights.items() if id_ not in of_jobs}
        others = TrafficClass(OTHERS, None, rest, routed=True)
        self.show(Parting((TrafficClass(JOBS, self.match, own, routed), others)))

    async def parted(self, jobs: str) -> None:
        """Part them so, and wait until Envoy does."""
        self.part(jobs)
        await until("Envoy knows the classes", lambda: self.is_parted(jobs))

        async def is_routed() -> bool:
            return (await self.served(1, **self.job)).keys() <= set(jobs.split())

        await until("jobs go to their replicas", is_routed)

    def show(self, parting: Parting | None) -> None:
        """Tell Envoy."""
        told = {} if parting is None else {POOL: parting}
        self.catalog = build(self.fleet, {POOL: self.endpoint_weights}, self.catalog, None, told)
        self.plane.show(self.catalog)

    @property
    def endpoint_weights(self) -> dict[str, EndpointWeight]:
        return dict.fromkeys(self.fleet.pools[POOL].replicas, TIER)

    async def priorities(self, class_name: str = JOBS) -> dict[str, int]:
        """By the replica's id, as Envoy has them."""
        known = await self.envoy.hosts(cluster_of(POOL, class_name))
        return {id_: host.get("priority", 0) for id_, host in known.items()}

    async def is_parted(self, jobs: str) -> bool:
        """Whether Envoy has come to know that these replicas are those of jobs, and healthy."""
        of_jobs, everybody = set(jobs.split()), set(self.endpoint_weights)
        own = {id_ for id_, priority in (await self.priorities()).items() if priority == 0}
        rest = {id_ for id_, priority in (await self.priorities(OTHERS)).items() if priority == 0}
        checked = await self.envoy.healthy(cluster_of(POOL, JOBS))
        return (own, rest, checked) == (of_jobs, everybody - of_jobs, everybody)

    async def served(self, count: int, **request: Any) -> Counter[str]:
        """How many of so many requests each replica answers, by id."""
        names = {item.address: f"r{index}" for index, item in enumerate(self.replicas)}
        found = Counter[str]()
        for _ in range(count):
            status, headers = await self.envoy.ask(POOL, **request)
            assert status == 200
            found[names[headers["x-replica"]]] += 1
        return found


@asynccontextmanager
async def stage(
    folder: Path,
    match: ClassMatch = OF_JOBS,
    job: Mapping[str, Any] | None = None,
    protocol: Protocol = "delta",
    health_check: Mapping[str, str] = HEALTH_CHECK,
    loads: LoadSink | None = None,
    **settings: object,
) -> AsyncIterator[Stage]:
    """Replicas r0 to r3, each of which can be stopped, and an Envoy that knows of no classes."""
    body = {
        "model": "m",
        "listener": {"address": f"127.0.0.1:{free_port()}"},
        "health_check": dict(health_check),
        **settings,
    }
    async with AsyncExitStack() as stack:
        replicas, stops = [], []
        for _ in range(4):
            stop = await stack.enter_async_context(AsyncExitStack())
            replicas.append(await stop.enter_async_context(replica()))
            stops.append(stop)
        pool = PutPool(POOL, validated(PoolSettings, body))
        fleet = after(
            pool, *(registered(f"r{i}", item.port, pool=POOL) for i, item in enumerate(replicas))
        )
        async with (
            serving(Catalog(), loads=loads) as plane,
            sidecar(folder, plane.address, [POOL], protocol=protocol) as envoy,
        ):
            made = Stage(fleet, plane, envoy, replicas, stops, match, job or {"headers": JOB})
            made.show(None)

            async def knows_all() -> bool:
                return await serves(envoy, POOL) and len(await envoy.healthy(POOL)) == 4

            await until("Envoy serves the pool", knows_all)
            yield made


@pytest.mark.parametrize(
    ("match", "job"),
    [
        (OF_JOBS, {"headers": JOB}),
        (ClassMatch(prefix="/v1/batch"), {"path": "/v1/batch"}),
        (ClassMatch(min_bytes=4096), {"text": LONG}),
    ],
    ids=["header", "prefix", "size"],
)
async def test_each_class_reaches_its_own_replicas_only(
    tmp_path: Path, match: ClassMatch, job: dict[str, Any]
) -> None:
    async with stage(tmp_path, match, job) as here:
        await here.parted("r0 r1")
        assert (await here.served(40, **job)).keys() == {"r0", "r1"}
        assert (await here.served(40)).keys() == {"r2", "r3"}


async def test_a_request_that_says_no_length_is_one_of_the_others(tmp_path: Path) -> None:
    async def text() -> AsyncIterator[bytes]:
        yield LONG.encode()

    async with (
        stage(tmp_path, ClassMatch(min_bytes=4096), {"text": LONG}) as here,
        aiohttp.ClientSession() as client,
    ):
        await here.parted("r0")
        before = here.replicas[0].served
        url = f"http://127.0.0.1:{here.envoy.listeners[POOL]}/v1/embeddings"
        for _ in range(12):
            async with client.post(url, data=text()) as response:
                assert response.status == 200
        assert here.replicas[0].served == before


async def test_a_gateway_finds_the_classes_of_a_pool_by_path_and_by_header(tmp_path: Path) -> None:
    port = free_port()
    address = Address("127.0.0.1", port)
    async with stage(tmp_path, ClassMatch(prefix="/v1/batch"), {"path": "/v1/batch"}) as here:
        here.part("r0 r1")
        data = bootstrap("gateway", here.plane.address, admin_port=free_port(), gateway=address)
        async with running(tmp_path, data, port, POOL) as gateway:
            here.envoy = gateway
            await until("it knows the classes", lambda: here.is_parted("r0 r1"))
            named: dict[str, Any] = {"headers": {"x-plimsoll-pool": POOL}}

            async def is_routed() -> bool:
                return await gateway.post(POOL, path=f"/{POOL}/v1/batch") == 200

            await until("it serves", is_routed)
            assert (await here.served(20, path=f"/{POOL}/v1/batch")).keys() == {"r0", "r1"}
            assert (await here.served(20, path="/v1/batch", **named)).keys() == {"r0", "r1"}
            assert (await here.served(20, path=f"/{POOL}/v1/embeddings")).keys() == {"r2", "r3"}
            assert (await here.served(20, **named)).keys() == {"r2", "r3"}


async def test_while_one_of_a_class_drains_its_others_serve_it_alone(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        await here.parted("r0 r1")
        here.fleet = after(Drain(POOL, "r0"), fleet=here.fleet)
        here.part("r0 r1")

        async def is_draining() -> bool:
            return (await here.priorities())["r0"] == 1

        await until("Envoy knows that it drains", is_draining)
        assert (await here.served(40, headers=JOB)).keys() == {"r1"}


class Sink:
    """Adds up what Envoys report."""

    def __init__(self) -> None:
        self.reports, self.count = LoadReports(), 0

    def came(self, reporter: object, node: str, place: Place) -> None:
        """Where it runs says nothing here."""

    async def reported(self, reporter: object, stats: LoadStats) -> None:
        self.count += 1
        self.reports.record(reporter, stats.loads, stats.seconds, time.monotonic())

    def left(self, reporter: object) -> None:
        self.reports.gone(reporter, time.monotonic())

    async def everything(self) -> None:
        """Wait until all that there was is reported; the next report may be on its way already."""
        seen = self.count

        async def is_reported() -> bool:
            return self.count >= seen + 2

        await until("Envoy reports", is_reported)


async def test_what_envoy_reports_is_told_apart_by_class(tmp_path: Path) -> None:
    sink = Sink()
    async with stage(tmp_path, loads=sink) as here:
        await here.parted("r0 r1")

        def ended() -> Counter[str]:
            found = Counter[str]()
            for one in here.replicas:
                at = Endpoint(POOL, "127.0.0.1", one.port)
                for name, item in sink.reports.by_class(at, time.monotonic()).items():
                    found[name] += int(item.succeeded)
            return found

        await sink.everything()
        before = ended()
        await here.served(30, headers=JOB)
        await here.served(20)
        await sink.everything()
        assert ended() - before == Counter({JOBS: 30, OTHERS: 20})


@pytest.mark.parametrize("dying", ["r0 r1", "r2 r3"])
async def test_when_all_replicas_of_a_class_die_the_others_serve_it(
    tmp_path: Path, dying: str
) -> None:
    async with stage(tmp_path) as here:
        await here.parted("r0 r1")
        async with load(here.envoy, POOL) as others, load(here.envoy, POOL, headers=JOB) as jobs:
            for id_ in dying.split():
                await here.stops[int(id_[1])].aclose()
            before = others.total(), jobs.total()

            async def go_on() -> bool:
                return min(others.total() - before[0], jobs.total() - before[1]) > 100

            await until("both go on", go_on)
        assert (set(others), set(jobs)) == ({200}, {200})


async def test_the_first_request_after_all_replicas_of_its_class_died_is_answered_too(
    tmp_path: Path,
) -> None:
    # No health check sees it first.
    async with stage(tmp_path, health_check=HEALTH_CHECK | {"interval": "60s"}) as here:
        await here.parted("r0 r1")
        for stop in here.stops[:2]:
            await stop.aclose()
        assert await here.envoy.post(POOL, headers=JOB) == 200


async def test_requests_at_a_replica_that_moves_between_classes_are_finished(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path) as here:
        await here.parted("r0 r1")
        of_jobs, moved = here.replicas[:2], here.replicas[1]
        await here.served(8, headers=JOB)
        begun = [job.started for job in of_jobs]
        for one in of_jobs:
            one.answers.clear()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(here.envoy.post(POOL, headers=JOB)) for _ in range(12)]

            async def all_wait() -> bool:
                return sum(job.started for job in of_jobs) == sum(begun) + 12

            await until("all wait at the replicas of their class", all_wait)
            before = requests((await here.envoy.hosts(f"{POOL}:{JOBS}"))["r1"])
            here.part("r0")
            await until("one has moved", lambda: here.is_parted("r0"))
            after_ = requests((await here.envoy.hosts(f"{POOL}:{JOBS}"))["r1"])
            here.part("r0 r1 r2")
            await until("and back", lambda: here.is_parted("r0 r1 r2"))
            for one in of_jobs:
                one.answers.set()
        assert {task.result() for task in tasks} == {200}
        # The same host to Envoy, which goes on counting what it has in flight there.
        assert before == after_
        assert after_["rq_active"] == moved.started - begun[1] > 0


def requests(host: Mapping[str, Any]) -> dict[str, int]:
    """What Envoy counts of a host that it would forget with it."""
    found = {stat["name"]: int(stat.get("value", 0)) for stat in host["stats"]}
    return {name: found[name] for name in ("rq_active", "rq_total")}


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_replicas_move_between_classes_under_load_and_no_request_fails(
    tmp_path: Path, protocol: Protocol
) -> None:
    async with stage(tmp_path, protocol=protocol) as here:
        await here.parted("r0 r1")
        async with load(here.envoy, POOL) as others, load(here.envoy, POOL, headers=JOB) as jobs:
            for of_jobs in ("r0", "r0 r3", "r2", "r1 r2 r3", "r0 r1"):
                await here.parted(of_jobs)
        assert (set(others), set(jobs)) == ({200}, {200})


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_classes_come_and_go_under_load_and_no_request_fails(
    tmp_path: Path, protocol: Protocol
) -> None:
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(replica()) for _ in range(3)]
        entry = pool_of(POOL, *replicas, health_check=HEALTH_CHECK | {"timeout": "500ms"})
        plane = await stack.enter_async_context(plimsoll(tmp_path, [entry]))
        envoy = await stack.enter_async_context(
            sidecar(tmp_path, plane.xds, [POOL], protocol=protocol)
        )
        await until("Envoy serves the pool", lambda: serves(envoy, POOL))
        declared = {"name": JOBS, "match": OF_JOBS.model_dump(mode="json", exclude_none=True)}
        async with load(envoy, POOL) as others, load(envoy, POOL, headers=JOB) as jobs:
            for _ in range(2):
                await put(plane, {**entry, "classes": [declared], "replicas": []})

                async def has_its_own() -> bool:
                    name = f"cluster.{POOL}_{JOBS}.upstream_rq_completed"
                    return await envoy.stat(name) > 50

                await until("jobs go by their cluster", has_its_own)
                await put(plane, {**entry, "replicas": []})

                async def is_gone() -> bool:
                    return f"{POOL}:{JOBS}" not in await envoy.clusters()

                await until("their cluster is gone", is_gone)
        assert (set(others), set(jobs)) == ({200}, {200})
