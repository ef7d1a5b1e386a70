"""GPU memory that an exporter tells of finds its replica: by UUID, or by pod."""

import pytest

from controlplane.api.views import replica_view
from controlplane.config import Config, load_config
from controlplane.plane import Failure, Plane, Probe, ReplicaReport
from controlplane.plane.devices import exporters_of
from controlplane.telemetry import Device, GpuMemory, Histogram, Reading
from tests.calls import calls
from tests.planes import declare

REPLICAS = """
      - {id: a, address: "127.0.0.1:9001", gpu: {uuid: GPU-1}}
      - {id: b, address: "127.0.0.1:9002", labels: {namespace: search, pod: minilm-1}}
      - {id: c, address: "127.0.0.1:9003", labels: {namespace: other, pod: minilm-1}}
      - {id: d, address: "127.0.0.1:9004", labels: {pod: minilm-1}}
"""


def config(metrics: str = 'profile: none, gpu: {addresses: ["127.0.0.1:9400"]}') -> Config:
    return load_config(
        "pools:\n"
        "  - name: m\n    model: m\n"
        '    listener: {address: "127.0.0.1:10000"}\n'
        f"    metrics: {{{metrics}}}\n    replicas:{REPLICAS}",
        "plimsoll.yaml",
    )


@pytest.fixture
def plane() -> Plane:
    plane = Plane(0.0)
    declare(plane, config(), 0.0)
    for target in plane.targets():
        plane.probed(target, Probe.HEALTHY, 0.0)
    return plane


def device(uuid: str, used: float, *pods: tuple[str, str]) -> Device:
    return Device(uuid, GpuMemory(uuid, used, 100.0), frozenset(pods))


def told(plane: Plane, now: float, *devices: Device) -> None:
    (exporter,) = plane.exporters()
    plane.record_devices(exporter, devices, now)


def report(plane: Plane, replica_id: str, now: float) -> ReplicaReport:
    plane.decide(now)
    return plane.report("m", replica_id, now)


def fractions(plane: Plane, replica_id: str, now: float) -> list[float]:
    joined = report(plane, replica_id, now).gpus
    assert joined is not None
    return [gpu.fraction for gpu in joined.memory]


def test_a_gpu_is_joined_by_the_uuid_that_a_replica_declares(plane: Plane) -> None:
    told(plane, 1.0, device("GPU-1", 40), device("GPU-2", 50))
    assert fractions(plane, "a", 1.0) == [0.4]


def test_a_gpu_is_joined_by_namespace_and_pod_and_by_both_only(plane: Plane) -> None:
    told(plane, 1.0, device("GPU-2", 60, ("search", "minilm-1")), device("GPU-3", 50))
    found = {replica_id: fractions(plane, replica_id, 1.0) for replica_id in "abcd"}
    assert found == {"a": [], "b": [0.6], "c": [], "d": []}


def test_a_pods_fullest_gpu_counts(plane: Plane) -> None:
    pod = ("search", "minilm-1")
    told(plane, 1.0, device("GPU-2", 98, pod), device("GPU-3", 20, pod))
    assert fractions(plane, "b", 1.0) == [0.2, 0.98]
    weighing = report(plane, "b", 1.0).decision
    assert weighing is not None
    assert weighing.drained


def test_a_full_gpu_cuts_its_replica_though_that_is_never_scraped(plane: Plane) -> None:
    told(plane, 1.0, device("GPU-1", 99), device("GPU-2", 50, ("search", "minilm-1")))
    plane.decide(1.0)
    drained = []
    for replica_id in "abcd":
        weighing = report(plane, replica_id, 1.0).decision
        assert weighing is not None
        drained.append(weighing.drained)
    assert drained == [True, False, False, False]


def test_what_an_exporter_said_counts_for_ten_of_its_intervals(plane: Plane) -> None:
    told(plane, 1.0, device("GPU-1", 40))
    assert fractions(plane, "a", 101.0) == [0.4]
    assert fractions(plane, "a", 101.5) == []


def test_a_failed_scrape_of_an_exporter_is_told_and_takes_nothing_away(plane: Plane) -> None:
    told(plane, 1.0, device("GPU-1", 40))
    (exporter,) = plane.exporters()
    plane.record_devices(exporter, Failure("GET /metrics on x: nobody listens"), 11.0)
    shown = replica_view(report(plane, "a", 12.0), 12.0)
    assert shown["joined"]["failure"] == "GET /metrics on x: nobody listens"
    assert (shown["joined"]["age_s"], shown["joined"]["memory"][0]["fraction"]) == (11.0, 0.4)
    assert any("nobody listens" in why for why in shown["why"])


def test_the_age_of_joined_memory_is_told(plane: Plane) -> None:
    told(plane, 1.0, device("GPU-1", 40))
    why = replica_view(report(plane, "a", 8.0), 8.0)["why"]
    assert any(
        "40 % of the memory of GPU-1" in item and "scraped 7 s ago" in item for item in why
    ), why


def test_a_replica_that_no_exporter_knows_is_told_how_to_be_found(plane: Plane) -> None:
    why = replica_view(report(plane, "d", 1.0), 1.0)["why"]
    assert any("declare gpu: {uuid: …}, or the labels namespace and pod" in item for item in why)


def test_an_exporter_of_two_pools_is_asked_once_and_as_often_as_the_keener_wants() -> None:
    usual = config().pools[0].settings()
    keen = config('gpu: {addresses: ["127.0.0.1:9400"], interval: 2s}').pools[0].settings()
    for pools in ((usual, keen), (keen, usual)):
        found = exporters_of(pools)
        assert [exporter.settings.interval for exporter in found.values()] == [2.0]


def test_an_exporter_that_no_pool_names_any_more_is_forgotten(plane: Plane) -> None:
    told(plane, 1.0, device("GPU-1", 99))
    declare(plane, config("profile: none"), 2.0)
    assert plane.exporters() == ()
    assert report(plane, "a", 2.0).gpus is None
    declare(plane, config(), 3.0)
    assert fractions(plane, "a", 3.0) == []


def test_a_pool_that_is_scraped_otherwise_from_now_on_forgets_what_it_read() -> None:
    plane = Plane(0.0)
    declare(plane, config("profile: tei"), 0.0)
    for target in plane.targets():
        plane.probed(target, Probe.HEALTHY, 0.0)
        plane.record(target, Reading(1.0, Histogram((1.0, float("inf")), (5.0, 5.0), 1.0)), 1.0)
    declare(plane, config("profile: tei, interval: 2s"), 1.5)
    assert report(plane, "a", 2.0).age == 1.0
    declare(plane, config("profile: none"), 2.0)
    seen = report(plane, "a", 60.0)
    assert (seen.age, seen.observed.window, seen.observed.failure) == (None, None, None)
    assert seen.decision is not None
    assert not seen.decision.stale


def test_replicas_that_are_never_scraped_get_equal_shares(plane: Plane) -> None:
    plane.decide(1.0)
    shares = set()
    for replica_id in "abcd":
        weighing = report(plane, replica_id, 60.0).decision
        assert weighing is not None
        shares.add(weighing.share)
    assert shares == {0.25}


def test_the_work_to_join_a_replica_does_not_grow_with_the_devices() -> None:
    def work(count: int) -> int:
        addresses = ", ".join(f'"10.0.0.{number}:9400"' for number in range(1, count + 1))
        plane = Plane(0.0)
        declare(plane, config(f"profile: none, gpu: {{addresses: [{addresses}]}}"), 0.0)
        for number, exporter in enumerate(plane.exporters()):
            devices = (device(f"GPU-{number}", 10), device(f"GPU-{number}-b", 10, ("a", "b")))
            plane.record_devices(exporter, devices, 1.0)
        pool = plane.fleet.pool("m")

        def join() -> None:
            found = plane._devices.gpus_of(pool, pool.replica("a"), 1.0)
            assert found is not None
            assert [gpu.fraction for gpu in found.memory] == [0.1]

        join()
        return calls(join)

    assert work(100) == work(5)


@pytest.mark.parametrize("uuid", ["1", "GPU-1", "gpu-1"])
def test_a_gpu_is_the_same_with_and_without_the_prefix_that_drivers_write(
    plane: Plane, uuid: str
) -> None:
    told(plane, 1.0, device(uuid, 40))
    joined = report(plane, "a", 2.0).gpus
    assert joined is not None
    assert [(gpu.uuid, gpu.fraction) for gpu in joined.memory] == [("GPU-1", 0.4)]
