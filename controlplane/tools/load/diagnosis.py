"""Find the bottleneck at a rate: measurements in, findings with their evidence out. Pure.

The order of the findings matters: an overloaded generator measures only itself, and a proxy that
holds requests back makes replicas look idle.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from controlplane.tools.load.envoy import FEW, ReplicaLoad
from controlplane.tools.load.record import StepRecord, queue
from controlplane.tools.load.schedule import Step

Where = Literal["generator", "requests", "proxy", "replica", "fleet", "none"]

BUSY: Final = 0.6
"""Part of a core above which the generator's own queue distorts the latencies."""

LATE: Final = 0.005
"""Seconds; requests that leave less late than that (99th percentile) left on time."""

LATE_PART: Final = 0.1
HOP_PART: Final = 0.5
"""Parts of the 99th percentile of latency from which the generator, or the hop, makes it."""

HOP: Final = 0.005
"""Seconds; a hop that takes less is no bottleneck."""

FAILED_PART: Final = 0.01

FULL: Final = 0.9
"""Part of its capacity from which a replica's queue grows with every burst."""

UNEVEN: Final = 1.3
"""A replica whose load is so many times that of the others together gets too much."""

SLOW: Final = 3.0
"""Times its peers' median latency; a pool of capacity tiers may well differ by less."""

BRISK: Final = 0.001
"""Seconds; a latency derived from requests in flight may be less, even 0, where a replica was never
seen with one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One bottleneck."""

    where: Where
    sentence: str
    name: str | None = None


def diagnose(
    step: Step, record: StepRecord, replicas: Sequence[ReplicaLoad]
) -> tuple[Finding, ...]:
    """Return the bottlenecks of a step, the most important first; at least one finding."""
    if not record.whole.requests:
        return (Finding("none", "no request of this rate has ended: nothing is known"),)
    found = (
        *_generator(record),
        *_failures(record),
        *_hop(record),
        *_slow(replicas),
        *_full(replicas),
        *_growing(step, record),
    )
    return found or (Finding("none", _nothing(record)),)


def spoiled(record: StepRecord, objective: float) -> bool:
    """Tell whether the generator missed an objective, so that the fleet cannot be judged."""
    if record.held_back:
        # The generator waited for answers, so the fleet missed it.
        return False
    if record.cpu is not None and record.cpu > BUSY:
        return True
    service = record.whole.service.quantile(0.99, record.whole.failed)
    in_time = service is not None and service <= objective
    return in_time and (record.unsent > 0 or _is_late(record))


def _is_late(record: StepRecord) -> bool:
    late, latency = record.late.quantile(0.99), record.whole.latency.quantile(0.99)
    return late is not None and latency is not None and late > max(LATE, LATE_PART * latency)


def _generator(record: StepRecord) -> Iterator[Finding]:
    if record.cpu is not None and record.cpu > BUSY:
        yield Finding(
            "generator",
            f"the generator itself is too busy to measure: it takes {record.cpu:.0%} of a core,"
            f" and above {BUSY:.0%} its own queue is in every latency; run several, or send less",
        )
    late, latency = record.late.quantile(0.99), record.whole.latency.quantile(0.99)
    if late is not None and latency is not None and not record.held_back and _is_late(record):
        yield Finding(
            "generator",
            f"the generator is late itself: 1 % of the requests left {ms(late)} or more after they"
            f" were due, of a p99 of {ms(latency)}; give it cores of its own, run several, or"
            " send less",
        )
    if record.unsent:
        yield Finding(
            "generator",
            f"the generator does not keep up: {record.unsent} requests were still to leave when"
            " the step was over, and never did",
        )
    if record.held_back:
        yield Finding(
            "generator",
            f"{record.held_back} requests were held back by --concurrency-limit, so the load was"
            " not open loop: fewer were sent than asked for, and latency counts from when they"
            " were due",
        )


def _failures(record: StepRecord) -> Iterator[Finding]:
    whole = record.whole
    if whole.failed > FAILED_PART * whole.requests:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in whole.faults.most_common(3))
        yield Finding(
            "requests",
            f"{whole.failed / whole.requests:.1%} of the requests failed: {kinds}",
        )


def _hop(record: StepRecord) -> Iterator[Finding]:
    whole = record.whole
    hop, service = whole.hop.quantile(0.99), whole.service.quantile(0.99)
    upstream = whole.upstream.quantile(0.99)
    if hop is None or service is None or upstream is None:
        return
    if hop > max(HOP, HOP_PART * service):
        yield Finding(
            "proxy",
            f"the hop to Envoy is the bottleneck: p99 {ms(hop)} outside of the"
            f" {ms(upstream)} in which Envoy waited for a replica",
        )


def _slow(replicas: Sequence[ReplicaLoad]) -> Iterator[Finding]:
    known = [each for each in replicas if each.latency is not None]
    slow: list[tuple[float, Finding]] = []
    for replica in known:
        peers = [peer.latency for peer in known if peer is not replica and peer.latency is not None]
        if not peers or replica.latency is None:
            continue
        middle = max(median(peers), BRISK)
        if replica.latency > SLOW * middle:
            times = replica.latency / middle
            sentence = (
                f"replica {replica.id} is far slower than its peers: {ms(replica.latency)} on"
                f" average, {times:.1f} × their median of {ms(middle)}{_with(replica)}"
            )
            slow.append((times, Finding("replica", sentence, replica.id)))
    yield from (finding for _, finding in sorted(slow, key=lambda pair: -pair[0]))


def _with(replica: ReplicaLoad) -> str:
    parts = []
    if replica.share is not None:
        parts.append(f"{replica.share:.0%} of the requests")
    if replica.in_flight is not None:
        parts.append(f"{replica.in_flight:.3g} in flight")
    if replica.queue:
        parts.append(f"{replica.queue:.3g} in its queue")
    return f", with {' and '.join(parts)}" if parts else ""


def _full(replicas: Sequence[ReplicaLoad]) -> Iterator[Finding]:
    known = [each for each in replicas if each.rate is not None and each.capacity]
    capacity = sum(each.capacity or 0.0 for each in known)
    rate = sum(each.rate or 0.0 for each in known)
    if not capacity:
        return
    if len(known) == len(replicas) and rate / capacity >= FULL:
        yield Finding(
            "fleet",
            f"the fleet is full: {rate:.3g} requests/s against a capacity of {capacity:.3g} of its"
            f" {len(known)} replicas together ({rate / capacity:.0%})",
        )
    for each in sorted(known, key=lambda each: -(each.load or 0.0)):
        others = capacity - (each.capacity or 0.0)
        load = each.load or 0.0
        elsewhere = (rate - (each.rate or 0.0)) / others if others else load
        if load >= FULL and load >= UNEVEN * elsewhere:
            yield Finding(
                "replica",
                f"replica {each.id} gets more than it can carry: {each.share or 0:.0%} of the"
                f" requests, {each.rate:.3g}/s against a capacity of {each.capacity:.3g}/s"
                f" ({load:.0%}), while the others are at {elsewhere:.0%}",
                each.id,
            )


def _growing(step: Step, record: StepRecord) -> Iterator[Finding]:
    thirds = record.waiting(step)
    if queue(thirds, step.rate) == "growing":
        yield Finding(
            "fleet",
            "requests queue up: in flight were, third by third,"
            f" {', '.join(f'{count:.3g}' for count in thirds)}; at this rate latency has no bound",
        )


def _nothing(record: StepRecord) -> str:
    p50, p99 = (record.whole.latency.quantile(part) for part in (0.5, 0.99))
    if p50 is None or p99 is None:
        return "nothing was answered"
    evidence = f"p50 {ms(p50)}, p99 {ms(p99)}, nothing queues"
    few = record.whole.requests < FEW
    return f"no bottleneck at this rate: {evidence}" + (
        f"; but {record.whole.requests} requests say little" if few else ""
    )


def ms(seconds: float) -> str:
    """A duration as people read it."""
    if seconds >= 10:
        return f"{seconds:.3g} s"
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"


def per_second(rate: float) -> str:
    """A rate of work as people read it."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


ENOUGH: Final = 100
"""Requests below which the 99th percentile is the longest of a few."""

Known = Literal["between", "at least", "below", "nothing"]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a fleet carries at an objective.

    Attributes:
        rate: Requests per second, the highest tried at which it and every lower rate kept the
            objective; None where the lowest one did not.
        missed: The lowest rate tried that missed the objective; None where none did.
        few: Fewest requests of any step that was judged.
        spoiled: The rate at which the generator itself became the bottleneck; from there on nothing
            is known of the fleet. None where it did not.
        tokens: Tokens per second that were sent at `rate`; 0: not known.
    """

    rate: float | None
    missed: float | None
    objective: float
    few: int
    spoiled: float | None = None
    tokens: float = 0.0

    @property
    def known(self) -> Known:
        """How well the capacity is known."""
        if self.rate is None:
            return "below" if self.spoiled is None else "nothing"
        return "at least" if self.missed is None else "between"

    @property
    def sentence(self) -> str:
        """The capacity in words."""
        goal = f"p99 within {ms(self.objective)}"
        work = f" ({per_second(self.tokens)} tokens/s)" if self.tokens else ""
        match self.rate, self.missed:
            case None, None:
                text = "nothing is known of the fleet"
            case None, missed:
                text = f"the fleet does not keep {goal} even at {missed:.4g} requests/s"
            case rate, None:
                text = f"the fleet carries at least {rate:.4g} requests/s{work} with {goal}"
                text += ": try more" if self.spoiled is None else ""
            case rate, missed:
                text = (
                    f"the fleet carries {rate:.4g} requests/s{work} with {goal}, and not"
                    f" {missed:.4g}"
                )
        if self.spoiled is not None:
            text += f": at {self.spoiled:.4g} the generator itself was the bottleneck"
        if self.few < ENOUGH:
            text += f" ({self.few} requests are too few for a p99: use a longer --duration)"
        return text


def keeps(step: Step, record: StepRecord, objective: float) -> bool:
    """Tell whether 99 % of a step's requests kept an objective, failed and held back ones counted.

    Where a queue grew, a longer step would have missed the objective.
    """
    p99 = record.whole.quantile(0.99)
    return (
        p99 is not None
        and p99 <= objective
        and not record.held_back
        and not record.unsent
        and queue(record.waiting(step), step.rate) == "steady"
    )


def capacity(steps: Sequence[tuple[Step, StepRecord]], objective: float | None) -> Capacity | None:
    """Find the capacity that a staircase shows for an objective, seconds of p99; None without."""
    if objective is None or not steps:
        return None
    rate, missed, own, few, work = None, None, None, math.inf, 0.0
    for step, record in sorted(steps, key=lambda pair: pair[0].rate):
        few = min(few, record.whole.requests)
        if not keeps(step, record, objective):
            if spoiled(record, objective):
                own = step.rate
            else:
                missed = step.rate
            break
        rate, work = step.rate, record.whole.tokens / (step.end - step.counts_from)
    return Capacity(rate, missed, objective, int(few), own, work)
