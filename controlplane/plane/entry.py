"""One explanation as it is kept: what a replica reported, what was decided of it, and every step.

An hour of them has to be small, so an entry is packed into some 300 bytes as soon as it is made.
"""

import json
import zlib
from dataclasses import dataclass, fields
from typing import Any, Final

from controlplane.balancing.sentences import Step
from controlplane.plane.readiness import State
from controlplane.signals import GpuMemory, Window


@dataclass(frozen=True, slots=True)
class Entry:
    """What was known and decided of a replica at one time.

    Attributes:
        at: When, seconds of a monotonic clock.
        lifetime: Differs between any two processes seen at one address.
        state: Of its readiness.
        draining: Who drains it, as the API says; None where nobody does.
        failure: Why The last scrape failed; None when it was good.
        age: Seconds since the last of what is in the window; None when there was none.
        window: Its readings, or what Envoys counted; None before any.
        by_envoys: The window is of load reports: nothing is scraped.
        in_flight: Requests that all Envoys together had at it; None where none reports.
        capacity: Requests per second that it was taken to carry; None when nothing was known.
        weight: That Envoy was told.
        tier: That it was in; empty where the policy had none.
        share: Of the pool's traffic, expected, 0 to 1; None where only Envoys knew.
        classes: Names of the classes of requests that it served first; empty where requests were
            not parted.
        serving: Replicas of the pool that had a share.
        drained: It was cut, for its memory or because its requests failed.
        stale: Its readings were too old.
        steps: How it came to that.
    """

    at: float
    lifetime: int
    state: State
    draining: str | None
    failure: str | None
    age: float | None
    window: Window | None
    by_envoys: bool
    in_flight: float | None
    capacity: float | None
    weight: int
    tier: str
    share: float | None
    classes: tuple[str, ...]
    serving: int
    drained: bool
    stale: bool
    steps: tuple[Step, ...]


_JSON: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_PLAIN: Final = tuple(it.name for it in fields(Entry) if it.name not in ("window", "steps"))
_WINDOW: Final = tuple(
    it.name for it in fields(Window) if it.name not in ("memory", "batches", "batches_total")
)
"""What is kept of a window beside its GPUs; what it says of batches is not kept."""

_PHRASES: Final = (
    '","The last scrape failed: no answer within connection refused starting gone operator lease'
    '"Slow start: ready for s of 10 s""Overloaded: s of work is waiting; minimum weight until'
    ' that is done""stale","No successful scrape for s: moves to the pool\'s median""memory","Cut:'
    " GPU memory reached the hard limit % and is %; it returns once memory stays below the soft"
    " limit %"
    ' GPU memory % is over the soft limit %""errors"," % of its requests failed""change","Became'
    ' × slower s ago""few requests","Only requests measured: mixed with the pool\'s median'
    ' to requests/s""class bulk","Serves bulk (requests from bytes on, % of the work) with weight'
    ' ""class search","Serves search only while the replicas for that class cannot'
    '""backlog","Its tier has ms of work waiting, the average is ms""tier","In tier-7 tier-9'
    " tier-8 with others; the pool is % busy, slow replicas keep more headroom; moves to a slower"
    ' tier if that lasts"],["damping","Moves to × the median step by step"],["median"," × the'
    " pool's median;"
    ' all replicas are about equal and count as equal"],["estimate",null,"Capacity tokens/s'
    ' requests/s ± %, from requests (1 slot, mean latency ms)"]["ready",null,null,"tier-8",false,'
    'false,"ok",0.0,null,1000,1.0,[],'
).encode()
"""What entries are full of, the most frequent last. A phrase that is missing costs some bytes."""


def packed(entry: Entry) -> bytes:
    """An entry as few bytes; numbers keep five significant digits."""
    window = entry.window
    document = [
        [[step.name, _short(step.before), _short(step.after), step.words] for step in entry.steps],
        [_short(getattr(entry, name)) for name in _PLAIN],
        window and [[gpu.uuid, _short(gpu.used), _short(gpu.total)] for gpu in window.memory],
        window and [_short(getattr(window, name)) for name in _WINDOW],
    ]
    squeezer = zlib.compressobj(level=4, wbits=-15, memLevel=5, zdict=_PHRASES)
    text = _JSON.encode(document).encode("utf-8", "replace")
    return squeezer.compress(text) + squeezer.flush()


def unpacked(data: bytes, at: float) -> Entry:
    """The entry that was packed.

    Args:
        data: By `packed`.
        at: When it was, in full: five digits are too few for a clock.
    """
    text = zlib.decompressobj(wbits=-15, zdict=_PHRASES).decompress(data)
    steps, plain, memory, numbers = json.loads(text)
    window = None
    if numbers is not None:
        read = dict(zip(_WINDOW, numbers, strict=True))
        window = Window(**read, memory=tuple(GpuMemory(*gpu) for gpu in memory))
    known: dict[str, Any] = dict(zip(_PLAIN, plain, strict=True))
    known |= {"at": at, "state": State(known["state"]), "classes": tuple(known["classes"])}
    return Entry(**known, window=window, steps=tuple(Step(*step) for step in steps))


def _short(value: Any) -> Any:
    return float(f"{value:.5g}") if type(value) is float else value
