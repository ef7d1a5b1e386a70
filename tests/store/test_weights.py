"""What Envoys were told is written soon, what else is known from time to time."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from controlplane.config import ClassMatch, ReplicaSettings, validated
from controlplane.fleet import DeleteReplica, Drain, PutPool, PutReplica, Undrain
from controlplane.plane import Plane, Probe, RestartPool, RestartReplica
from controlplane.resources.classes import Parting
from controlplane.store import Store, WeightKeeper
from controlplane.store.database import Weighing as Row
from controlplane.store.tables import WriteError, weighings
from tests.fleet.fleets import without_pool
from tests.plane.lives import CONFIG, SIZES, Life, measured, steadily
from tests.plane.pools import SETTINGS
from tests.planes import declare


class Rows(Store):
    """Takes note of what is to be kept."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere.db"))
        self.kept: list[Row] = []
        self.fails = False
        self.times = 0
        self.files = 0

    @property
    def begun(self) -> int:
        return self.files

    async def keep(self, weighings: Callable[[], Sequence[Row]]) -> None:
        if self.fails:
            raise WriteError("the disk is full")
        self.kept = list(weighings())
        self.times += 1


def keeper(life: Life) -> tuple[WeightKeeper, Rows]:
    rows = Rows()
    return WeightKeeper(life.plane, rows, lambda: life.now, lambda: life.now), rows


async def test_what_is_only_known_better_waits() -> None:
    life = measured()
    follower, rows = keeper(life)
    await follower.save(everything=False)
    assert {id_ for _, id_, _, _ in rows.kept} == {"", "fast", "same", "slow"}
    rows.kept = []
    life.live(1.0, steadily)
    await follower.save(everything=False)
    assert rows.kept == []
    await follower.save()
    assert {id_ for _, id_, _, _ in rows.kept} == {"", "fast", "same", "slow"}


async def test_where_long_requests_go_is_written_soon_though_no_weight_has_changed() -> None:
    life = measured(345.0, SIZES)
    follower, rows = keeper(life)
    await follower.save(everything=False)
    plane, rows.kept = life.plane, []
    decision, parting = plane.decision("m"), plane.parting("m")
    assert decision is not None
    assert decision.division.is_planned
    assert parting is not None
    # As the next decision would leave them.
    state = replace(decision.pool, division=replace(decision.division, threshold=777))
    decided = plane._decisions["m"]
    decided.decision = replace(decision, pool=state)
    follower._dirty.add_replicas({"m": ()})
    bulk = replace(parting["bulk"], match=ClassMatch(min_bytes=777))
    decided.parting = Parting((bulk, parting[""]))
    await follower.save(everything=False)
    ((pool, id_, _, text),) = rows.kept
    assert (pool, id_, json.loads(text)["division"]["threshold"]) == ("m", "", 777)


async def test_only_those_are_written_soon_that_envoys_were_told_something_else_of() -> None:
    life = measured()
    follower, rows = keeper(life)
    await follower.save()
    decision = life.plane.decision("m")
    assert decision is not None
    weight = decision.weight.copy()
    weight[decision.rows["slow"]] += 1
    life.plane._decisions["m"].decision = replace(decision, weight=weight)
    follower._dirty.add_replicas({"m": decision.rows.keys()})
    rows.kept = []
    await follower.save(everything=False)
    assert [id_ for _, id_, _, _ in rows.kept] == ["", "slow"]


async def test_what_was_written_and_has_not_changed_is_not_written_again() -> None:
    life = measured()
    follower, rows = keeper(life)
    await follower.save()
    rows.kept = []
    await follower.save()
    assert rows.kept == []


async def test_what_could_not_be_written_is_tried_again() -> None:
    life = measured()
    follower, rows = keeper(life)
    rows.fails = True
    await follower.save(everything=False)
    assert rows.kept == []
    rows.fails = False
    await follower.save(everything=False)
    assert {id_ for _, id_, _, _ in rows.kept} == {"", "fast", "same", "slow"}


async def test_a_pool_that_went_and_came_back_is_written_anew() -> None:
    life = measured()
    follower, rows = keeper(life)
    await follower.save()
    life.plane.adopt(without_pool(life.plane.fleet, "m"), life.now)
    await follower.save()
    declare(life.plane, CONFIG, life.now)
    life.live(0.5, steadily)
    rows.kept = []
    await follower.save(everything=False)
    assert {id_ for _, id_, _, _ in rows.kept} == {"", "fast", "same", "slow"}


async def test_all_is_written_anew_to_a_file_that_was_begun_in_the_place_of_a_lost_one() -> None:
    life = measured()
    follower, rows = keeper(life)
    await follower.save()
    rows.files, rows.kept = 1, []
    await follower.save(everything=False)
    assert {id_ for _, id_, _, _ in rows.kept} == {"", "fast", "same", "slow"}


async def test_a_replica_that_another_process_has_replaced_is_written_soon() -> None:
    life = measured()
    follower, rows = keeper(life)
    await follower.save()
    before = life.plane.fleet.pool("m").replica("slow").generation
    moved = validated(ReplicaSettings, {"address": "127.0.0.1:9103"})
    life.plane.apply(PutReplica("m", "slow", moved), life.now)
    life.live(0.5, steadily)
    rows.kept = []
    await follower.save(everything=False)
    (text,) = (text for _, id_, _, text in rows.kept if id_ == "slow")
    assert json.loads(text)["generation"] > before


async def test_every_row_says_by_the_wall_clock_when_it_was_known() -> None:
    life = measured()
    rows = Rows()
    await WeightKeeper(life.plane, rows, lambda: life.now, lambda: 1.7e9).save()
    assert {at for _, _, at, _ in rows.kept} == {1.7e9}


async def test_what_was_kept_is_as_old_as_the_wall_clock_says_and_never_younger_than_now() -> None:
    replica = {"generation": 1, "shown": True, "weighing": {}}
    kept = [("m", "a", 100.0, json.dumps(replica)), ("m", "", 100.0, "{}")]
    assert weighings(kept, 160.0) == {
        "m": RestartPool(60.0, {}, {"a": RestartReplica(1, shown=True, weighing={})}),
    }
    assert weighings(kept, 40.0)["m"].age == 0.0


def alike(life: Life, replicas: int) -> None:
    """A pool of which nothing is measured, decided once."""
    plane = life.plane
    plane.apply(PutPool("m", SETTINGS), 0.0)
    for n in range(replicas):
        address = validated(ReplicaSettings, {"address": f"127.0.0.1:{9000 + n}"})
        plane.apply(PutReplica("m", f"r{n}", address), 0.0)
    for item in plane.targets():
        plane.probed(item, Probe.HEALTHY, 0.0)
    plane.decide(0.0)


async def test_of_many_that_are_alike_only_those_that_have_changed_are_written() -> None:
    life = Life(Plane(0.0), 100.0)
    alike(life, 60)
    follower, rows = keeper(life)
    await follower.save()
    assert len(rows.kept) == 61
    life.plane.apply(Drain("m", "r7"), 100.0)
    life.plane.decide(100.0)
    life.plane.apply(DeleteReplica("m", "r8"), 101.0)
    life.plane.decide(101.0)
    rows.kept = []
    # What Envoys are told of it is the same, so it can wait.
    await follower.save(everything=False)
    assert rows.kept == []
    await follower.save()
    assert [id_ for _, id_, _, _ in rows.kept] == ["", "r7"]
    assert "r8" not in follower._written["m"].shown
    share = json.loads(rows.kept[1][3])["weighing"]["share"]
    assert share == 0.0
    rows.kept = []
    await follower.save()
    assert rows.kept == []


async def test_of_one_that_has_gone_when_everything_is_written_nothing_is() -> None:
    life = Life(Plane(0.0), 100.0)
    alike(life, 60)
    follower, rows = keeper(life)
    life.plane.apply(Drain("m", "r7"), 100.0)
    life.plane.decide(100.0)
    await follower.save(everything=False)
    life.plane.apply(Undrain("m", "r8"), 101.0)
    life.plane.apply(Drain("m", "r8"), 101.0)
    life.plane.decide(101.0)
    # Nothing was decided of that yet.
    life.plane.apply(DeleteReplica("m", "r7"), 102.0)
    await follower.save()
    assert "r7" not in {id_ for _, id_, _, _ in rows.kept}
    assert len(rows.kept) == 60


async def test_one_of_many_that_another_process_has_replaced_is_written_as_that_one() -> None:
    life = Life(Plane(0.0), 100.0)
    alike(life, 60)
    follower, rows = keeper(life)
    await follower.save()
    moved = validated(ReplicaSettings, {"address": "127.0.0.1:9103"})
    life.plane.apply(PutReplica("m", "r7", moved), 100.0)
    life.plane.decide(100.0)
    rows.kept = []
    await follower.save(everything=False)
    ((_, id_, _, text),) = rows.kept[1:]
    data = json.loads(text)
    assert (id_, data["shown"]) == ("r7", False)
    assert data["generation"] == life.plane.fleet.pool("m").replica("r7").generation
