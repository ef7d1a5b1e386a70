"""From one parting to another: clusters come before routes, and go after them."""

from dataclasses import replace

from controlplane.config import ClassMatch
from controlplane.plane.decisions import ClassStep, next_step
from controlplane.resources.classes import OTHERS, Parting, TrafficClass
from controlplane.resources.endpoints import EndpointWeight

NEEDED = 2.0
PORTIONS = {"a": EndpointWeight("tier-1", 100)}


def parting(*names: str, routed: bool = True) -> Parting:
    named = (TrafficClass(name, ClassMatch(prefix=f"/{name}"), PORTIONS, routed) for name in names)
    return Parting((*named, TrafficClass(OTHERS, None, PORTIONS, routed=True)))


def step(before: ClassStep | None, wanted: Parting | None, now: float) -> ClassStep:
    return next_step(before, wanted, NEEDED, now)


def routed(told: ClassStep) -> dict[str, bool]:
    """Whether routes lead to each class that has a cluster of its own."""
    return {item.name: item.routed for item in told.parting.named} if told.parting else {}


TOGETHER = ClassStep()


def test_a_new_class_has_a_cluster_before_a_route_leads_to_it() -> None:
    wanted = parting("x")
    first = step(TOGETHER, wanted, 10.0)
    assert (routed(first), first.is_moving) == ({"x": False}, True)
    waits = step(first, wanted, 10.0 + NEEDED - 0.1)
    assert (routed(waits), waits.is_moving) == ({"x": False}, True)
    there = step(waits, wanted, 10.0 + NEEDED)
    assert (routed(there), there.is_moving, there.parting) == ({"x": True}, False, wanted)


def test_a_class_to_which_nothing_is_to_lead_yet_waits_for_that() -> None:
    first = step(TOGETHER, parting("x", routed=False), 10.0)
    assert (routed(first), first.is_moving) == ({"x": False}, False)
    assert routed(step(first, parting("x"), 20.0)) == {"x": True}


def test_a_class_that_goes_loses_its_route_first_and_then_its_cluster() -> None:
    both = step(None, parting("x", "y"), 0.0)
    first = step(both, parting("y"), 1.0)
    assert (routed(first), first.is_moving) == ({"y": True, "x": False}, True)
    then = step(first, parting("y"), 1.1)
    assert (routed(then), then.is_moving) == ({"y": True}, False)


def test_where_no_class_is_left_requests_are_together_after_that() -> None:
    first = step(step(None, parting("x"), 0.0), None, 1.0)
    assert (routed(first), first.is_moving) == ({"x": False}, True)
    assert step(first, None, 1.1) == TOGETHER


def test_a_class_to_which_no_route_led_goes_at_once() -> None:
    first = step(TOGETHER, parting("x"), 10.0)
    assert step(first, None, 10.1) == TOGETHER


def test_who_held_nothing_before_gets_everything_at_once() -> None:
    told = step(None, parting("x"), 0.0)
    assert (told.parting, told.is_moving) == (parting("x"), False)
    assert step(told, parting("x"), 0.1) == told
    assert step(None, None, 0.0) == TOGETHER


def test_a_class_stays_routed_while_who_serves_it_changes() -> None:
    told = step(None, parting("x"), 0.0)
    bulk = replace(parting("x")["x"], endpoint_weights={})
    changed = Parting((bulk, parting("x")[OTHERS]))
    assert step(told, changed, 0.1).parting == changed
