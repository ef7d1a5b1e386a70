"""A pool that no decision can be made about keeps what it had, and others go on."""

from collections.abc import Callable
from typing import Any

import pytest

from controlplane import balancing
from controlplane.balancing import Decision
from controlplane.config import PoolSettings, load_config
from controlplane.fleet import Drain
from controlplane.plane import Plane, Probe
from controlplane.resources.catalog import Catalog
from tests.planes import declare

POOLS = """
pools:
  - name: sound
    model: sound
    listener: {address: "127.0.0.1:10000"}
    replicas: [{id: a, address: "127.0.0.1:9001"}, {id: b, address: "127.0.0.1:9002"}]
  - name: broken
    model: broken
    listener: {address: "127.0.0.1:10001"}
    replicas: [{id: a, address: "127.0.0.1:9011"}, {id: b, address: "127.0.0.1:9012"}]
"""
WITHOUT_B = POOLS.replace(', {id: b, address: "127.0.0.1:9002"}', "").replace(
    ', {id: b, address: "127.0.0.1:9012"}', ""
)


def failing(decide: Callable[..., Decision], *, frozen: bool = False) -> Callable[..., Decision]:
    """Decide about all pools but one, which fails; its frozen weights do so, too, if asked for."""

    def tried(
        before: Decision | None, settings: PoolSettings, *rest: Any, **named: Any
    ) -> Decision:
        if settings.model == "broken" and (frozen or named["hold"] is None):
            raise ZeroDivisionError
        return decide(before, settings, *rest, **named)

    return tried


def looked(plane: Plane, now: float, *ids: str) -> Catalog:
    for pool in ("sound", "broken"):
        for id_ in ids or ("a", "b"):
            if (target := plane.target(pool, id_)) is not None:
                plane.probed(target, Probe.HEALTHY, now)
    return plane.decide(now)


def started() -> Plane:
    plane = Plane(0.0)
    declare(plane, load_config(POOLS, "plimsoll.yaml"), 0.0)
    looked(plane, 1.0)
    return plane


def is_said(plane: Plane, pool: str) -> bool:
    decision = plane.decision(pool)
    assert decision is not None
    return any("failed to decide" in step.words for step in decision.of("a").steps)


def served(catalog: Catalog, pool: str) -> set[str]:
    return {member.id for member in catalog.pools[pool].members if not member.draining}


@pytest.mark.parametrize("frozen", [False, True], ids=["weights freeze", "not even that"])
def test_other_pools_go_on(monkeypatch: pytest.MonkeyPatch, frozen: bool) -> None:  # noqa: FBT001
    plane = started()
    monkeypatch.setattr(balancing, "decide", failing(balancing.decide, frozen=frozen))
    declare(plane, load_config(WITHOUT_B, "plimsoll.yaml"), 2.0)
    catalog = looked(plane, 3.0)
    # A replica that has gone gets nothing more, whatever fails.
    assert served(catalog, "sound") == served(catalog, "broken") == {"a"}


def test_why_weights_are_frozen_is_said_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    plane, decide = started(), balancing.decide
    monkeypatch.setattr(balancing, "decide", failing(decide))
    plane.apply(Drain("broken", "b"), 2.0)
    looked(plane, 3.0)
    assert is_said(plane, "broken")
    assert not is_said(plane, "sound")
    monkeypatch.setattr(balancing, "decide", decide)
    plane.decide(9.0)
    assert not is_said(plane, "broken")


def test_a_failure_is_told_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    plane, told = started(), []
    monkeypatch.setattr(balancing, "decide", failing(balancing.decide, frozen=True))
    plane.apply(Drain("broken", "b"), 2.0)
    for second in range(100):
        looked(plane, 2.0 + second)
        told += [(name, type(error)) for name, error in plane.failed_decisions().items()]
    assert told == [("broken", ZeroDivisionError)] * 2
