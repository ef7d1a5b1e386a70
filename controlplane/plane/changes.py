"""What differs between two explanations of a replica, and which step did it, in sentences."""

import math
from collections.abc import Iterator
from typing import Final

from controlplane.balancing.explain import is_telling
from controlplane.balancing.sentences import Step, counted, number, percent
from controlplane.balancing.sets import DEAD_BAND
from controlplane.plane.history import HistoryEntry
from controlplane.plane.observed import State

_STATES: Final = {
    State.STARTING: "it starts: Envoy is not told of it before its health check answers 200",
    State.READY: "it became ready",
    State.UNHEALTHY: "its health check fails",
    State.GONE: "it went away: nobody listened, or another process took over",
}
_DRAINING: Final = {
    "operator": "an operator drained it",
    "lease": "its lease ran out, so it is drained",
    "discovery": "its source no longer has it, so it is drained",
}
_LEAST: Final = math.log(1.02)
"""Logarithm of the smallest factor that is named as a cause."""


def changes(before: HistoryEntry | None, after: HistoryEntry) -> Iterator[str]:
    """Yield the sentences, the most important first; none where everything is as it was."""
    if before is None:
        yield f"the record begins{_of_traffic(after.share)}"
        return
    yield from _of_share(before, after)
    if after.state is not before.state:
        yield _STATES[after.state]
    if after.lifetime != before.lifetime:
        yield "a new process answers at its address: what was learned of the old one is forgotten"
    if after.draining != before.draining:
        yield _DRAINING.get(after.draining or "", "it is no longer drained")
    if after.tier != before.tier:
        yield f"it moved from {before.tier or 'no tier'} to {after.tier or 'no tier'}"
    if after.classes != before.classes:
        served = " and ".join(after.classes)
        yield f"it serves {served} first" if served else "requests are no longer parted"
    if after.drained != before.drained:
        yield "it was cut for its GPU memory" if after.drained else "its cut is over"
    if (after.failure is None) != (before.failure is None):
        failed = f"scraping it began to fail: {after.failure}"
        yield "it can be scraped again" if after.failure is None else failed
    yield from _of_steps(before, after)


def _of_traffic(share: float | None) -> str:
    return "" if share is None else f": {percent(share)} of the traffic"


def _of_share(before: HistoryEntry, after: HistoryEntry) -> Iterator[str]:
    if before.share is None or after.share is None:
        if before.share != after.share:
            yield (
                "its share is only known to Envoys"
                if after.share is None
                else (f"its share is known again{_of_traffic(after.share)}")
            )
        return
    if before.share == after.share or min(before.share, after.share) <= 0:
        if before.share != after.share:
            verb = "lost" if after.share <= 0 else "got"
            yield f"it {verb} its share: {percent(before.share)} → {percent(after.share)}"
        return
    effect = math.log(after.share / before.share)
    if abs(effect) <= math.log1p(DEAD_BAND):
        return
    verb = "rose" if effect > 0 else "fell"
    cause = _cause(before, after, effect)
    yield f"its share {verb}: {percent(before.share)} → {percent(after.share)}{cause}"


def _cause(before: HistoryEntry, after: HistoryEntry, effect: float) -> str:
    """Which step had the greatest part in a share's change, with its words."""
    sign = math.copysign(1.0, effect)
    effects, words = _effects(before, after), {step.name: step.words for step in after.steps}
    name = max(effects, key=lambda cause: sign * effects[cause], default="")
    others = effect - math.log(after.weight / before.weight)
    if sign * others > max(sign * effects.get(name, 0.0), _LEAST):
        if before.serving == after.serving:
            return ", because the weights of others changed"
        serve = "serves" if after.serving == 1 else "serve"
        now = f"{counted(after.serving, 'replica')} of the pool {serve}"
        return f", because {now}, where it was {before.serving}"
    if sign * effects.get(name, 0.0) <= _LEAST:
        return ""
    if name in words:
        return f", because: {words[name]} ({name}: ×{number(math.exp(effects[name]))} of before)"
    return f", because {name} is over"


def _effects(before: HistoryEntry, after: HistoryEntry) -> dict[str, float]:
    """By step the logarithm of what its change multiplied the weight by."""
    old, new = _factors(before.steps), _factors(after.steps)
    effects = {name: new.get(name, 0.0) - old.get(name, 0.0) for name in {**old, **new}}
    if before.capacity is None or after.capacity is None:
        # Where nothing of the pool is measured, the first step starts from no amount of anything.
        effects["median"] = effects.get("median", 0.0) + effects.pop("estimate", 0.0)
    return effects


def _factors(steps: tuple[Step, ...]) -> dict[str, float]:
    """By step the logarithm of its factor; of the first, of what it starts from.

    The step to the median divides by it: a median that moves takes and gives as well.
    """
    factors, value = {}, None
    for step in steps:
        if step.after <= 0:
            continue
        if value is None or step.name == "median":
            factors[step.name] = math.log(step.after) - (math.log(value) if value else 0.0)
        elif step.before:
            factors[step.name] = math.log(step.after / step.before)
        value = step.after
    return factors


def _of_steps(before: HistoryEntry, after: HistoryEntry) -> Iterator[str]:
    old = {step.name: step for step in before.steps if _is_telling(step)}
    new = {step.name: step for step in after.steps if _is_telling(step)}
    yield from (f"{name} began: {step.words}" for name, step in new.items() if name not in old)
    yield from (f"{name} is over" for name in old if name not in new)


def _is_telling(step: Step) -> bool:
    return bool(is_telling(step.name, step.before, step.after))
