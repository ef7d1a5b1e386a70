"""After a registry was lost Envoys keep what they hold of a pool until it is known again."""

from controlplane.config import ReplicaSettings, validated
from controlplane.fleet import DeletePool, DeleteReplica, PutPool, PutReplica
from controlplane.plane import Plane, Probe
from controlplane.plane.recovery import KNOWN_SECONDS, OVER_SECONDS, SILENT_SECONDS
from controlplane.telemetry.load import Endpoint, Load
from tests.fleet.fleets import pool_settings
from tests.planes import report


class Lost:
    """A control plane whose registry was lost, with a clock that goes on by itself."""

    def __init__(self, *pools: str) -> None:
        self.plane, self.now = Plane(0.0), 0.0
        self.plane.recovery.begin()
        for number, name in enumerate(pools):
            self.plane.apply(PutPool(name, pool_settings(10_000 + number)), 0.0)

    def register(self, pool: str, port: int) -> None:
        id_ = f"r{port}"
        settings = validated(ReplicaSettings, {"address": f"127.0.0.1:{port}"})
        self.plane.apply(PutReplica(pool, id_, settings), self.now)
        target = self.plane.target(pool, id_)
        assert target is not None
        self.plane.probed(target, Probe.HEALTHY, self.now)

    def answered(self, pool: str, port: int) -> None:
        loads = {Endpoint(pool, "127.0.0.1", port): Load(1, 0, 0)}
        report(self.plane, self, loads, 1.0, self.now)

    def released(self, after: float = 0.0) -> set[str] | None:
        self.now += after
        released = self.plane.decide(self.now).released
        return None if released is None else set(released)


def test_envoys_that_hold_nothing_are_served_at_once_whatever_was_lost() -> None:
    assert Lost("p").plane.has_started(0.0)


def test_where_nothing_was_lost_all_is_told_to_all() -> None:
    plane = Plane(0.0)
    plane.apply(PutPool("p", pool_settings()), 0.0)
    assert plane.decide(0.0).released is None


def test_an_empty_pool_is_never_told_to_those_who_hold_more_of_it() -> None:
    lost = Lost("p", "q")
    lost.register("q", 1)
    for _ in range(100):
        lost.released(after=60.0)
    assert lost.released() == {"q"}


def test_a_pool_is_told_of_once_its_replicas_had_the_time_to_come_back() -> None:
    lost = Lost("p")
    assert lost.released(after=1_000.0) == set()
    lost.register("p", 1)
    assert lost.released() == set()
    assert lost.released(after=KNOWN_SECONDS - 0.1) == set()
    assert lost.released(after=0.1) == {"p", "*"}


def test_a_pool_is_not_told_of_while_replicas_serve_that_are_not_known() -> None:
    lost = Lost("p")
    lost.register("p", 1)
    for _ in range(20):
        lost.answered("p", 2)
        assert lost.released(after=KNOWN_SECONDS) == set()
    assert [new[:8] for new in lost.plane.recovery.news()] == ["pool p: "]
    lost.register("p", 2)
    lost.answered("p", 2)
    assert lost.released() == {"p", "*"}
    assert lost.plane.recovery.news() == ["pool p: Envoys are told of its replicas again"]


def test_that_something_is_missing_is_known_from_the_load_that_envoys_report() -> None:
    lost = Lost("p")
    assert not lost.plane.recovery.is_missing
    lost.answered("p", 2)
    assert lost.plane.recovery.is_missing


def test_a_replica_that_answers_nobody_any_more_holds_nothing_up() -> None:
    lost = Lost("p")
    lost.register("p", 1)
    lost.answered("p", 2)
    lost.released()
    assert lost.released(after=SILENT_SECONDS - 0.1) == set()
    assert lost.released(after=0.1) == {"p", "*"}


def test_a_replica_that_is_removed_while_we_are_here_is_not_missing() -> None:
    lost = Lost("p")
    for port in (1, 2):
        lost.register("p", port)
    lost.released()
    lost.plane.apply(DeleteReplica("p", "r2"), lost.now)
    lost.answered("p", 2)
    assert not lost.plane.recovery.is_missing
    assert lost.released(after=KNOWN_SECONDS) == {"p", "*"}


def test_what_somebody_forces_is_told() -> None:
    lost = Lost("p", "q")
    lost.plane.recovery.release("p")
    assert lost.released() == {"p"}


def test_a_pool_that_is_removed_goes() -> None:
    lost = Lost("p", "q")
    lost.plane.apply(DeletePool("p"), 0.0)
    assert lost.released() == {"p"}


def test_what_is_made_of_all_pools_waits_for_the_last_and_for_those_that_are_not_there() -> None:
    lost = Lost("p", "q")
    lost.register("p", 1)
    lost.register("q", 2)
    lost.released()
    lost.answered("gone", 3)
    assert lost.released(after=KNOWN_SECONDS) == {"p", "q"}
    assert lost.released(after=SILENT_SECONDS) == {"p", "q", "*"}


def test_after_a_while_in_which_nothing_is_missing_it_is_over() -> None:
    lost = Lost("p")
    lost.register("p", 1)
    lost.released()
    assert lost.released(after=KNOWN_SECONDS) == {"p", "*"}
    assert lost.released(after=OVER_SECONDS - 0.1) == {"p", "*"}
    assert lost.released(after=0.1) is None
    assert not lost.plane.recovery.is_on
