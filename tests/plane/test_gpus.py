"""A stranger that names a GPU, and says that it is full, has nobody drained but itself."""

import pytest

from controlplane.config import Config, ReplicaSettings, validated
from controlplane.fleet import Command, PutReplica
from controlplane.plane import Plane, Probe
from controlplane.telemetry import GpuMemory, Histogram, Reading
from tests.fleet.fleets import file
from tests.planes import declare

FULL, HALF = 99.0, 50.0


def on_gpu(port: int, uuid: str | None = "GPU-1") -> ReplicaSettings:
    gpu = {} if uuid is None else {"gpu": {"uuid": uuid}}
    return validated(ReplicaSettings, {"address": f"127.0.0.1:{port}", **gpu})


def put(id_: str, port: int, owner: str | None, uuid: str | None = "GPU-1") -> PutReplica:
    return PutReplica("p", id_, on_gpu(port, uuid), owner=owner)


def plane_of(*commands: Command) -> Plane:
    """Pool p with three replicas of the file: f is on GPU-1, the others name none."""
    plain = file(p={"f": 1, "g": 2, "h": 3}).model_dump(mode="json")
    plain["pools"][0]["replicas"][0]["gpu"] = {"uuid": "GPU-1"}
    plane = Plane(0.0)
    declare(plane, validated(Config, plain), 0.0)
    for command in commands:
        plane.apply(command, 0.0)
    return plane


def drained(plane: Plane, says: dict[str, GpuMemory]) -> set[str]:
    """The ids of the replicas that are drained once each has said how full its GPU is."""
    for target in plane.targets():
        plane.probed(target, Probe.HEALTHY, 1.0)
    for target in plane.targets():
        said = says.get(target.replica.id)
        memory = () if said is None else (said,)
        plane.record(target, Reading(1.0, Histogram((1.0,), (0.0,), 0.0), memory=memory), 1.0)
    plane.decide(1.0)
    decision = plane.decision("p")
    assert decision is not None
    return {id_ for id_, row in decision.replicas.items() if row.drained}


OTHERS = tuple(put(f"o{n}", 20 + n, "you", f"GPU-{n + 2}") for n in range(9))
"""So many that three may be drained together."""


@pytest.mark.parametrize(
    ("says", "shares"),
    [
        ("f", {"f", "m", "n"}),
        ("m", {"m", "n"}),
    ],
    ids=["the file", "a token"],
)
def test_a_full_gpu_drains_those_that_its_registrar_put_there_and_the_file_speaks_for_all(
    says: str, shares: set[str]
) -> None:
    plane = plane_of(put("m", 4, "me"), put("n", 5, "me"), *OTHERS)
    assert drained(plane, {says: GpuMemory("GPU-1", FULL, 100)}) == shares


@pytest.mark.parametrize("named", ["GPU-1", None], ids=["in its metrics", "as it is declared"])
@pytest.mark.parametrize("victim", ["f", "mine"])
def test_a_stranger_that_names_a_gpu_drains_nobody_elses_replica(
    victim: str, named: str | None
) -> None:
    strangers = [put(f"s{n}", 10 + n, "you") for n in range(9)]
    plane = plane_of(put("mine", 4, "me"), *strangers)
    says = {f"s{n}": GpuMemory(named, FULL, 100) for n in range(9)}
    says[victim] = GpuMemory("GPU-1", HALF, 100)
    found = drained(plane, says)
    assert found
    assert found <= {f"s{n}" for n in range(9)}
