"""What Envoys were told is written soon, what else is known from time to time."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from controlplane.edges.store import Store, WeightKeeper
from controlplane.edges.store.database import Weighing as Row
from tests.plane.lives import Life, measured, steadily


class Rows(Store):
    """Takes note of what is to be kept."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere.db"))
        self.kept: list[Row] = []

    async def keep(self, weighings: Callable[[], Sequence[Row]]) -> None:
        self.kept = list(weighings())


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
    life = measured(tokens=100.0)
    follower, rows = keeper(life)
    await follower.save(everything=False)
    plane, rows.kept = life.plane, []
    weighing, long = plane.weighing("m"), plane.long_requests("m")
    assert weighing is not None
    assert weighing.sizes is not None
    assert long is not None
    # As the next decision would leave them.
    plane._weighings["m"] = replace(weighing, sizes=replace(weighing.sizes, threshold=777))
    plane._long["m"] = replace(long, threshold=777)
    await follower.save(everything=False)
    ((pool, id_, _, text),) = rows.kept
    assert (pool, id_, json.loads(text)["sizes"]["threshold"]) == ("m", "", 777)
