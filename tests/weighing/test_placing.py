"""Where replicas of a pool are placed, when chance had put some of a kind elsewhere before."""

from collections.abc import Mapping
from math import log

import pytest

from controlplane.weighing.placing import FOLLOWING, placements
from controlplane.weighing.tiers import SPAN, Placement

PATIENCE = 15.0
FAST, SLOW = Placement(1, earned=True), Placement(0, earned=True)


def moved_after(before: Mapping[str, Placement], kinds: Mapping[str, str]) -> float | None:
    """Seconds after which ``a``, as slow as the others by now, leaves the fast ones' tier."""
    logs = dict.fromkeys(before, 0.0) | {"fast": log(SPAN)}
    placed = dict(before) | {"fast": FAST}
    for tenths in range(200):
        placed, _ = placements(
            *(placed, logs, kinds),
            counting=placed.keys() - {"a"},
            earned=[id_ for id_, it in placed.items() if it.earned],
            held=(),
            anchor=0.0,
            patience=PATIENCE,
            now=tenths / 10,
        )
        if placed["a"].band == SLOW.band:
            return tenths / 10
    return None


@pytest.mark.parametrize(
    ("others", "kinds", "seconds"),
    [
        ({"b": SLOW, "c": SLOW}, {"a": "a", "b": "a", "c": "a"}, PATIENCE / FOLLOWING),
        # Nobody, or not most, of its kind has earned to be there.
        ({"b": SLOW, "c": SLOW}, {}, PATIENCE),
        ({"b": SLOW, "c": SLOW}, {"b": "b", "c": "b"}, PATIENCE),
        ({"b": SLOW}, {"a": "a", "b": "a"}, PATIENCE),
        ({"b": SLOW, "c": Placement(0)}, {"a": "a", "b": "a", "c": "a"}, PATIENCE),
    ],
    ids=["most are there", "no kinds", "of no kind", "half", "not earned"],
)
def test_a_replica_follows_most_of_its_kind_sooner(
    others: Mapping[str, Placement], kinds: Mapping[str, str], seconds: float
) -> None:
    assert moved_after({"a": FAST, **others}, kinds) == seconds
