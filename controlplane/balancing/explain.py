"""Why one replica gets what it gets: a row of a decision's columns, as sentences.

Each stage that changed something, or could have, is one `Step`. Nothing is worked out here: the
columns are read when somebody asks.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Final

from controlplane.balancing.capacity import TRUSTED
from controlplane.balancing.classes import Division
from controlplane.balancing.decision import Decision
from controlplane.balancing.frame import Frame
from controlplane.balancing.headroom import CEILING, FLOOR
from controlplane.balancing.records import WORTH
from controlplane.balancing.sentences import Step, counted, duration, number, percent
from controlplane.balancing.sets import may_part
from controlplane.settings import BalancingSettings, Policy

_CHECKS: Final = "Envoys check the replicas for each new class before requests go by class."

TOLD: Final = 60.0
"""Seconds for which a change of capacity is told."""

_POLICIES: Final[Mapping[Policy, str]] = {
    "least-request": "each request goes where an Envoy has the fewest in flight",
    "round-robin": "all replicas get the same number of requests, in turn",
    "client-side-weighted-round-robin": (
        "each Envoy weighs replicas by the utilisation that their own responses report (ORCA)"
    ),
    "ring-hash": "requests with the same {hash} go to the same replica",
    "maglev": "requests with the same {hash} go to the same replica",
}


def steps_of(decision: Decision, row: int) -> tuple[Step, ...]:
    """Every step of a replica's decision, in the order of the pipeline."""
    frame = decision.frame
    if frame is None:
        return ()
    return tuple(_steps(decision, frame, row))


def _steps(decision: Decision, frame: Frame, row: int) -> Iterator[Step]:
    if frame.held is not None:
        yield Step("held", None, float(frame.relative[row]), frame.held)
        yield from _weight(decision, frame, row)
        return
    yield from _capacity(frame, row)
    yield from _guards(frame, row)
    if frame.settings.balancing.policy in _POLICIES:
        yield Step("policy", 1.0, 1.0, _policy(frame.settings.balancing))
        return
    yield from _share(frame, row)
    yield from _weight(decision, frame, row)


def _capacity(frame: Frame, row: int) -> Iterator[Step]:
    """What the replica carries, in tokens per second where they are counted."""
    records = frame.state.records
    own, worth = float(frame.measured[row]), float(records.parts[row, :, WORTH].sum())
    after = float(frame.mixed[row])
    if math.isnan(own) or worth <= 0:
        if frame.median is not None:
            known = not math.isnan(records.before[row])
            whose = "its last estimate" if known else "the pool's median"
            words = f"No requests were measured: {whose} stands, {_rate(frame, after)}"
            yield Step("estimate", None, after, words)
        return
    how = "batches" if records.shapes.batched[row] else counted(frame.slots[row], "slot")
    latency, length = float(frame.table.column("latency")[row]), ""
    if not math.isnan(latency):
        length = f", mean latency {duration(latency)}"
    sure = 1.2 / math.sqrt(worth)
    yield Step(
        "estimate",
        None,
        own,
        f"Capacity {_rate(frame, own)} ± {percent(sure)}, from {counted(worth, 'request')}"
        f" ({how}{length})",
    )
    changed_at, factor = float(records.changed_at[row]), float(records.factor[row])
    if frame.now - changed_at <= TOLD and factor > 0:
        pace = "faster" if factor > 1 else "slower"
        times = number(factor if factor > 1 else 1 / factor)
        ago = duration(frame.now - changed_at)
        yield Step("change", own, own, f"It became {times} × {pace} {ago} ago")
    if abs(after / own - 1) > 0.005:
        yield Step("few requests", own, after, _few(frame, row, after))


def _few(frame: Frame, row: int, after: float) -> str:
    if frame.worth[row] < TRUSTED:
        known = not math.isnan(frame.state.records.before[row])
        other = "its estimate before" if known else "the pool's median"
        worth = counted(frame.worth[row], "request")
        return f"Evidence of {worth} is little: mixed with {other} to {_rate(frame, after)}"
    return f"Its idle requests show at least {_rate(frame, after)}"


def _rate(frame: Frame, tokens: float) -> str:
    """A rate of work: tokens per second where they are counted, else usual requests."""
    if frame.pool.counts_tokens:
        return f"{number(tokens)} tokens/s"
    return f"{number(tokens / (frame.pool.length or 100.0))} requests/s"


def _guards(frame: Frame, row: int) -> Iterator[Step]:
    if frame.after_errors[row] != frame.mixed[row]:
        words = f"{percent(float(frame.table.column('errors')[row]))} of the requests failed"
        yield Step("errors", float(frame.mixed[row]), float(frame.after_errors[row]), words)
    yield from _memory(frame, row)
    if hasattr(frame, "aged") and frame.aged[row] != frame.after_memory[row]:
        words = f"No good scrape for {duration(float(frame.age[row]))}: moves to the pool's median"
        yield Step("stale", float(frame.after_memory[row]), float(frame.aged[row]), words)


def _memory(frame: Frame, row: int) -> Iterator[Step]:
    state, table, limits = frame.state, frame.table, frame.settings.memory
    soft, hard = (float(table.column(name)[row]) for name in ("soft", "hard"))
    soft = limits.soft if math.isnan(soft) else soft
    hard = limits.hard if math.isnan(hard) else hard
    fraction = float(state.memory[row])
    before, after = float(frame.after_errors[row]), float(frame.after_memory[row])
    shown = "unknown now" if math.isnan(fraction) else percent(fraction)
    weighs = frame.settings.balancing.policy not in _POLICIES
    if state.cut[row]:
        words = (
            f"Cut: GPU memory reached the hard limit {percent(hard)} and is {shown}; it must stay"
            f" below the soft limit {percent(soft)}"
        )
        yield Step("memory", before, before, words)
    elif not math.isnan(fraction) and fraction >= hard:
        words = f"GPU memory {shown} is over the hard limit {percent(hard)}, but no more may be cut"
        yield Step("memory", before, after, words)
    elif after != before or fraction >= soft:
        words = f"GPU memory {shown} is over the soft limit {percent(soft)}"
        if fraction < soft:
            words = f"GPU memory {shown} fills and will soon be over the soft limit {percent(soft)}"
        if not weighs:
            words += f"; policy {frame.settings.balancing.policy} has no weight to reduce"
        yield Step("memory", before, after, words)


def _share(frame: Frame, row: int) -> Iterator[Step]:
    relative, target = float(frame.to_median[row]), float(frame.target[row])
    words = f"{number(relative)} × the pool's median"
    if frame.pool.equal and frame.serving[row]:
        words += "; all replicas are about equal and treated as equal"
    elif target != relative:
        words += f", limited to between {FLOOR:g} and {CEILING:g}"
    yield Step("median", relative, target, words)
    started = float(frame.after_start[row])
    if frame.starting[row]:
        since = frame.now - float(frame.table.column("ready_since")[row])
        seconds = frame.settings.balancing.slow_start or 0.0
        words = f"Slow start: ready for {duration(since)} of {duration(seconds)}"
        yield Step("slow start", target, started, words)
    kept = float(frame.after_overload[row])
    if frame.overloaded[row]:
        line = float(frame.state.line[row])
        words = f"Overloaded: {duration(line)} of work waits there; minimum weight until it is done"
        yield Step("overload", started, kept, words)
    moved = float(frame.relative[row])
    if moved != kept:
        words = f"Moves to {number(kept)} × the median step by step"
        yield Step("damping", kept, moved, words)


def _weight(decision: Decision, frame: Frame, row: int) -> Iterator[Step]:
    """The tier, and what each class makes of it."""
    before = float(frame.relative[row])
    tier, name = int(frame.tier[row]), frame.tier_names[int(frame.tier[row])]
    others = frame.members_of(tier) - 1
    weight = int(decision.weight[row])
    if decision.policy == "weighted-least-request":
        yield Step("weight", before, weight / 1000, f"Envoy is told the weight {weight}")
        return
    words = f"In {name}"
    if others:
        words += f" with {counted(others, 'other')}"
    leaving = int(frame.state.leaving[row])
    if leaving:
        words += f"; moves to a {'faster' if leaving > 0 else 'slower'} tier if that lasts"
    if not decision.classes:
        used = frame.pool.used
        if used is not None and not frame.pool.equal:
            words += f"; the pool is {percent(used)} busy, slow replicas keep more headroom"
        yield Step("tier", before, weight / 1000, words)
        yield from _backlog(frame, "", name)
        return
    yield Step("tier", before, weight / 1000, words)
    for each in decision.classes:
        own = int(each.weights[row])
        part = f"{percent(each.part)} of the work"
        if own:
            words = (
                f"Serves {each.title} ({_requests(decision, each.name)}{part}) with weight {own}"
            )
            yield Step(f"class {each.title}", weight / 1000, own / 1000, words)
            yield from _backlog(frame, each.name, name)
        else:
            words = f"Serves {each.title} only while the replicas for that class cannot"
            yield Step(f"class {each.title}", weight / 1000, weight / 1000, words)


def _requests(decision: Decision, class_name: str) -> str:
    """Which requests a class has, where they are parted by size."""
    parting = decision.parting
    if parting is None:
        return ""
    where = "from" if class_name else "below"
    return f"requests {where} {parting.threshold} bytes{' on' if class_name else ''}, "


def _backlog(frame: Frame, class_name: str, tier: str) -> Iterator[Step]:
    backlog = frame.leans.get((class_name, tier))
    if backlog is not None:
        words = (
            f"Its tier has {duration(max(backlog.seconds, 0.0))} of work waiting, the set"
            f" {duration(max(backlog.usual, 0.0))}"
        )
        yield Step("backlog", 1.0, backlog.factor, words)


def _policy(balancing: BalancingSettings) -> str:
    does = _POLICIES[balancing.policy].format(hash=balancing.hash)
    return f"Policy {balancing.policy}: {does}; Envoy is not told what a replica carries"


def parting_sentences(decision: Decision) -> tuple[str, ...]:
    """Why a pool's requests are parted as they are, or why they are not."""
    parting, frame = decision.parting, decision.frame
    division = decision.pool.division
    if division is not None:
        return tuple(_division_sentences(decision, division))
    if parting is None:
        if frame is None or not may_part(frame) or frame.sizes is None or not frame.sizes.samples:
            return ()
        demand = frame.demand
        if demand is None and frame.sizes.threshold() is not None:
            return ()
        if demand is None or not demand.is_clear:
            return ("Requests are not parted: their sizes do not fall into two classes.",)
        return ("Requests are not parted: no division of the replicas is predicted to help.",)
    size = f"{parting.threshold} bytes"
    many = counted(len(parting.own), "replica")
    if parting.kind == "long to fast":
        return (f"Requests from {size} on ({percent(parting.part)} of the work) go to {many}.",)
    words = [
        f"Requests below {size} (searches) have {many} of their own; the others"
        f" ({percent(parting.part)} of the work) have the rest."
    ]
    if parting.together is not None and parting.forecast is not None:
        words.append(
            f"Predicted p99: searches {duration(parting.forecast.search)} instead of"
            f" {duration(parting.together.search)}, bulk {duration(parting.forecast.bulk)} instead"
            f" of {duration(parting.together.bulk)}."
        )
    if not parting.is_in_force(decision.at):
        words.append(_CHECKS)
    return tuple(words)


def _division_sentences(decision: Decision, division: Division) -> Iterator[str]:
    if not division.is_in_force(decision.at):
        yield _CHECKS
    for each in decision.classes:
        own = division.sets.get(each.name)
        part = f"{percent(each.part)} of the work"
        if not own:
            yield f"Class {each.title} ({part}) has no replicas of its own: all serve it."
            continue
        words = f"Class {each.title} ({part}) has {counted(len(own), 'replica')} of its own"
        forecast = division.forecasts.get(each.name)
        yield words + (f", predicted p99 {duration(forecast)}." if forecast else ".")
