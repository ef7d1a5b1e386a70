"""Why replicas get what they get: a decision's columns as effects, and a row of them as sentences.

Each stage that changed something, or could have, is one `Effect`: on which replicas, from what to
what, and how that reads. The words are put together when somebody asks.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

import numpy as np

from controlplane.balancing.capacity import TRUSTED
from controlplane.balancing.columns import Bools, Floats
from controlplane.balancing.decision import ClassDecision, Decision
from controlplane.balancing.division import Division
from controlplane.balancing.frame import Frame
from controlplane.balancing.guards import is_left_out
from controlplane.balancing.headroom import CEILING, FLOOR, LEAST_BUSY, QUANTUM
from controlplane.balancing.prediction import NEVER
from controlplane.balancing.sentences import Effect, counted, duration, number, percent
from controlplane.balancing.sets import DEAD_BAND, may_part, titles
from controlplane.config import BalancingSettings, Policy

_CHECKS: Final = "Envoys check the replicas for each new class before requests go by class."

CUT: Final = "Cut: "
"""The sentence that says why a replica gets nothing begins so."""
TOLD: Final = 60.0
"""Seconds for which a change of capacity is shown."""
SEEN: Final = 0.005
"""Relative change by few requests that is shown."""

_ALWAYS: Final = frozenset(("estimate", "median", "damping", "backlog", "tier", "weight"))
"""Steps that come and go with chance; what they do shows in the share."""

_POLICIES: Final[Mapping[Policy, str]] = {
    "least-request": "each request goes where an Envoy has the fewest in flight",
    "round-robin": "all replicas get the same number of requests, in turn",
    "client-side-weighted-round-robin": (
        "each Envoy weighs replicas by the utilisation that their own responses report (ORCA)"
    ),
    "ring-hash": "requests with the same {hash} go to the same replica",
    "maglev": "requests with the same {hash} go to the same replica",
}


def is_telling(name: str, before: Floats | float | None, after: Floats | float) -> Bools:
    """Whether it is worth an entry in a history that a step is there, or is no longer.

    Args:
        name: Of the step.
        before: What it started from, of one replica or of each; None: nothing.
        after: What it came to.
    """
    if name in _ALWAYS or before is None:
        return np.asarray(name not in _ALWAYS)
    # One that hovers about its limit comes and goes with hardly any effect.
    same, change = np.equal(after, before), np.abs(np.subtract(after, before))
    return np.asarray(same | (change > DEAD_BAND * np.asarray(before)))


def effects_of(decision: Decision) -> tuple[Effect, ...]:
    """Every step of a decision, in the order of the pipeline."""
    frame = decision.frame
    return () if frame is None else tuple(_effects(decision, frame))


def _effects(decision: Decision, frame: Frame) -> Iterator[Effect]:
    balancing = frame.settings.balancing
    if frame.held is not None:
        yield _everywhere(frame, "held", None, frame.relative, frame.held)
        yield from _weight(decision, frame)
        return
    yield from _capacity(frame)
    yield Effect(
        "gauge", frame.disbelieved, frame.mixed, frame.mixed, lambda row: _gauge(frame, row)
    )
    yield from _guards(frame)
    if balancing.policy in _POLICIES:
        yield _everywhere(
            frame, "policy", np.ones(frame.size), np.ones(frame.size), _policy(balancing)
        )
        return
    yield from _share(frame)
    yield from _weight(decision, frame)


def _everywhere(
    frame: Frame, name: str, before: Floats | None, after: Floats, words: str
) -> Effect:
    """One that acts on all replicas, and reads the same for each."""
    return Effect(name, np.ones(frame.size, np.bool_), before, after, lambda _: words)


def _capacity(frame: Frame) -> Iterator[Effect]:
    """What replicas carry, in tokens per second where they are counted."""
    records, own, after = frame.state.records, frame.measured, frame.claimed
    known = ~np.isnan(own) & (records.worth > 0)
    told = known | (frame.median is not None)
    yield Effect(
        "estimate", told, None, np.where(known, own, after), lambda row: _estimate(frame, row)
    )
    lately = frame.now - records.changed_at <= TOLD
    yield Effect(
        "change", known & lately & (records.factor > 0), own, own, lambda row: _change(frame, row)
    )
    differs = np.abs(after - own) > SEEN * own
    yield Effect("few requests", known & differs, own, after, lambda row: _few(frame, row))
    yield Effect(
        "limit",
        after > frame.mixed,
        after,
        frame.mixed,
        lambda row: f"Limited to {_rate(frame, frame.mixed[row])}: Envoys' counts support no more",
    )


def _estimate(frame: Frame, row: int) -> str:
    records = frame.state.records
    own, worth = float(frame.measured[row]), float(records.worth[row])
    if np.isnan(own) or worth <= 0:
        known = not np.isnan(records.before[row])
        whose = "its last estimate" if known else "the pool's median"
        return f"No requests measured: {whose} is kept, {_rate(frame, frame.mixed[row])}"
    how = "batches" if records.shapes.batched[row] else counted(frame.slots[row], "slot")
    latency, length = float(frame.table.column("latency")[row]), ""
    if not np.isnan(latency):
        length = f", mean latency {duration(latency)}"
    sure = 1.2 / np.sqrt(worth)
    return (
        f"Capacity {_rate(frame, own)} ± {percent(sure)}, from {counted(worth, 'request')}"
        f" ({how}{length})"
    )


def _gauge(frame: Frame, row: int) -> str:
    """A count of the replica's own that is not believed."""
    table = frame.table
    what = "texts" if table.column("queue_texts")[row] == 1 else "requests"
    return (
        f"Its own count of {number(float(table.column('queue')[row]))} waiting {what} is ignored:"
        f" Envoys have {number(float(table.column('reported')[row]))} requests in flight, and the"
        " count does not fall when requests end"
    )


def _change(frame: Frame, row: int) -> str:
    records = frame.state.records
    factor = float(records.factor[row])
    pace = "faster" if factor > 1 else "slower"
    times = number(factor if factor > 1 else 1 / factor)
    return f"Became {times} × {pace} {duration(frame.now - float(records.changed_at[row]))} ago"


def _few(frame: Frame, row: int) -> str:
    rate = _rate(frame, frame.claimed[row])
    if frame.worth[row] < TRUSTED:
        known = not np.isnan(frame.state.records.before[row])
        other = "its estimate before" if known else "the pool's median"
        worth = counted(frame.worth[row], "request")
        return f"Only {worth} measured: mixed with {other} to {rate}"
    return f"Requests that found it idle show at least {rate}"


def _rate(frame: Frame, tokens: float) -> str:
    """A rate of work: tokens per second where they are counted, else usual requests."""
    if frame.pool.counts_tokens:
        return f"{number(float(tokens))} tokens/s"
    return f"{number(float(tokens) / (frame.pool.length or 100.0))} requests/s"


def _guards(frame: Frame) -> Iterator[Effect]:
    usual, errors, memory = frame.mixed, frame.after_errors, frame.after_memory
    failing = frame.table.column("errors")
    yield Effect(
        "errors",
        errors != usual,
        usual,
        errors,
        lambda row: f"{percent(float(failing[row]))} of its requests failed",
    )
    yield Effect(
        "failing",
        is_left_out(frame.state, frame.now),
        errors,
        errors,
        lambda row: _failing(frame, row),
    )
    cut, full = (
        frame.state.cut & frame.state.wanted,
        frame.state.memory >= np.minimum(frame.soft, frame.hard),
    )
    yield Effect(
        "memory",
        cut | full | (memory != errors),
        errors,
        np.where(cut, errors, memory),
        lambda row: _memory(frame, row),
    )
    if frame.settings.balancing.policy not in _POLICIES:
        aged = frame.aged
        yield Effect("stale", aged != memory, memory, aged, lambda row: _stale(frame, row))


def _failing(frame: Frame, row: int) -> str:
    part, usual = float(frame.table.column("failing")[row]), float(frame.failing_usual[row])
    words = "most Envoys see its requests fail far more often than those of other replicas"
    if not np.isnan(part) and not np.isnan(usual):
        words += f" ({percent(part)} against {percent(usual)})"
    if not frame.state.cut[row]:
        return f"{words[0].upper()}{words[1:]}; no more replicas may be cut"
    again = duration(float(frame.state.failing_until[row]) - frame.now)
    return f"{CUT}{words}; it is tried again in {again}"


def _memory(frame: Frame, row: int) -> str:
    soft, hard, fraction = (
        float(each[row]) for each in (frame.soft, frame.hard, frame.state.memory)
    )
    shown = "unknown now" if np.isnan(fraction) else percent(fraction)
    if frame.state.cut[row] and frame.state.wanted[row]:
        return (
            f"{CUT}GPU memory reached the hard limit {percent(hard)} and is {shown}; it returns"
            f" once memory stays below the soft limit {percent(soft)}"
        )
    if fraction >= hard:
        return f"GPU memory {shown} is over the hard limit {percent(hard)}; no more may be cut"
    words = f"GPU memory {shown} is over the soft limit {percent(soft)}"
    if fraction < soft:
        words = f"GPU memory {shown} grows and will soon exceed the soft limit {percent(soft)}"
    if frame.settings.balancing.policy in _POLICIES:
        words += f"; policy {frame.settings.balancing.policy} has no weight to reduce"
    return words


def _stale(frame: Frame, row: int) -> str:
    return f"No successful scrape for {duration(float(frame.age[row]))}: moves to the pool's median"


def _share(frame: Frame) -> Iterator[Effect]:
    everywhere = np.ones(frame.size, np.bool_)
    target, started, spared = frame.target, frame.after_start, frame.after_overload
    yield Effect("median", everywhere, frame.to_median, target, lambda row: _median(frame, row))
    yield Effect("slow start", frame.starting, target, started, lambda row: _slow_start(frame, row))
    yield Effect("overload", frame.overloaded, started, spared, lambda row: _overload(frame, row))
    yield Effect(
        "damping",
        frame.relative != spared,
        spared,
        frame.relative,
        lambda row: f"Moves to {number(float(spared[row]))} × the median step by step",
    )


def _median(frame: Frame, row: int) -> str:
    words = f"{number(float(frame.to_median[row]))} × the pool's median"
    if frame.pool.equal and frame.serving[row]:
        return words + "; all replicas are about equal and get equal shares"
    if frame.target[row] != frame.to_median[row]:
        words += f", limited to between {FLOOR:g} and {CEILING:g}"
    return words


def _slow_start(frame: Frame, row: int) -> str:
    since = frame.now - float(frame.table.column("ready_since")[row])
    seconds = frame.settings.balancing.slow_start or 0.0
    return f"Slow start: ready for {duration(since)} of {duration(seconds)}"


def _overload(frame: Frame, row: int) -> str:
    line = duration(float(frame.state.line[row]))
    return f"Overloaded: {line} of work is waiting; minimum weight until that is done"


def _weight(decision: Decision, frame: Frame) -> Iterator[Effect]:
    """The tier, and what each class makes of it."""
    everywhere, weight = np.ones(frame.size, np.bool_), decision.weight / 1000
    if decision.policy == "weighted-least-request":
        yield Effect(
            "weight",
            everywhere,
            frame.relative,
            weight,
            lambda row: f"Envoy gets the weight {decision.weight[row]}",
        )
        return
    yield Effect(
        "tier", everywhere, frame.relative, weight, lambda row: _tier(decision, frame, row)
    )
    if not decision.classes:
        yield from _backlog(frame, "", everywhere)
    for each in decision.classes:
        serves = each.weights > 0
        yield Effect(
            f"class {each.title}",
            everywhere,
            weight,
            np.where(serves, each.weights / 1000, weight),
            partial(_class, decision, each),
        )
        yield from _backlog(frame, each.name, serves)


def _tier(decision: Decision, frame: Frame, row: int) -> str:
    tier = int(frame.tier[row])
    words = f"In {frame.tier_names[tier]}"
    if others := frame.members_of(tier) - 1:
        words += f" with {counted(others, 'other')}"
    if leaving := int(frame.state.leaving[row]):
        words += f"; moves to a {'faster' if leaving > 0 else 'slower'} tier if that lasts"
    used = frame.pool.used
    if not decision.classes and used is not None and not frame.pool.equal:
        # Below that, headroom is worked out as if the pool were that busy.
        bound = "at most " if used < LEAST_BUSY + QUANTUM / 2 else ""
        words += f"; the pool is {bound}{percent(used)} busy, slow replicas keep more headroom"
    return words


def _class(decision: Decision, each: ClassDecision, row: int) -> str:
    if not (own := int(each.weights[row])):
        return f"Serves {each.title} only while the replicas for that class cannot"
    requests = ""
    if (threshold := decision.division.threshold) is not None:
        where = f"from {threshold} bytes on" if each.name else f"below {threshold} bytes"
        requests = f"requests {where}, "
    return f"Serves {each.title} ({requests}{percent(each.part)} of the work) with weight {own}"


def _backlog(frame: Frame, class_name: str, rows: Bools) -> Iterator[Effect]:
    tier, names = frame.tiers[class_name]
    found = [frame.leans.get((class_name, name)) for name in names]
    if not any(found):
        return
    factors = np.asarray([np.nan if each is None else each.factor for each in found])[tier]

    what = "Its tier" if tier is frame.tier else "The replica"

    def words(row: int) -> str:
        backlog = found[int(tier[row])]
        assert backlog is not None  # noqa: S101 - these rows alone have the effect
        return (
            f"{what} has {duration(max(backlog.seconds, 0.0))} of work waiting, the average is"
            f" {duration(max(backlog.usual, 0.0))}"
        )

    yield Effect("backlog", rows & ~np.isnan(factors), np.ones(frame.size), factors, words)


def _policy(balancing: BalancingSettings) -> str:
    does = _POLICIES[balancing.policy].format(hash=balancing.hash)
    return f"Policy {balancing.policy}: {does}; Envoy does not get capacities"


def parting_sentences(decision: Decision) -> tuple[str, ...]:
    """Why a pool's requests are parted as they are, or why they are not."""
    frame, division = decision.frame, decision.division
    if division.is_planned:
        return tuple(_division_sentences(decision, division))
    if frame is None or not may_part(frame) or frame.sizes is None or not frame.sizes.samples:
        return ()
    demand = frame.demand
    if demand is None and frame.sizes.threshold() is not None:
        return ()
    if demand is None or not demand.is_clear:
        return ("Requests are not parted: their sizes do not fall into two classes.",)
    return ("Requests are not parted: no division of the replicas is predicted to help.",)


def _division_sentences(decision: Decision, division: Division) -> Iterator[str]:
    if not division.is_in_force(decision.at):
        yield _CHECKS
    parts = {each.name: each.part for each in decision.classes} or division.parts
    for name, title in _titles(decision).items() if parts else ():
        which = ""
        if (size := division.threshold) is not None:
            which = f"requests from {size} bytes on, " if name else f"requests below {size} bytes, "
        words = f"Class {title} ({which}{percent(parts.get(name, 0.0))} of the work) has"
        if name in division.sets:
            words += f" {counted(len(division.sets[name]), 'replica')} of its own"
        elif name == division.rest:
            words += " all other replicas"
        else:
            words += " no replicas of its own: all serve it"
        p99, without = (known.get(name) for known in (division.forecasts, division.together))
        if p99 is not None and without is not None:
            words += f"; predicted p99 {_predicted(p99)}, without classes {_predicted(without)}"
        yield f"{words}."
        if decision.frame is not None and (via := decision.frame.settings.gateways_of(name)):
            yield f"Class {title} goes through {counted(len(via), 'gateway')}."


def _predicted(seconds: float) -> str:
    return duration(seconds) if seconds < NEVER else "unbounded"


def _titles(decision: Decision) -> Mapping[str, str]:
    if decision.frame is not None:
        return titles(decision.frame.settings, decision.division)
    return {each.name: each.title for each in decision.classes}
