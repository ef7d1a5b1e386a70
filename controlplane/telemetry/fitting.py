"""Which profile an exposition fits: in come its texts, out comes what profiles make of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.telemetry.exposition import parse
from controlplane.telemetry.layouts import ExpositionError
from controlplane.telemetry.profile import Profile, Source
from controlplane.telemetry.reading import Reading, read
from controlplane.telemetry.window import History, Window


@dataclass(frozen=True, slots=True)
class Fit:
    """What a profile makes of an exposition.

    Attributes:
        found: What it reads there, of latency, memory, queue, running, errors and tokens.
        missing: What it would read, each with the families that are not there.
        window: What it yields; None without latency.
        idle: The family that says that the server has counted nothing yet: of durations that are
            declared without any, or a gauge where durations come with the first request.
        is_meant: It cannot read the exposition, though its families are there.
    """

    profile: str
    found: tuple[str, ...]
    missing: tuple[tuple[str, tuple[str, ...]], ...]
    window: Window | None
    error: str | None = None
    idle: str | None = None
    is_meant: bool = False

    @property
    def fits(self) -> bool:
        """Whether replicas can be steered by it: there is a latency, and nothing is wrong."""
        return self.window is not None


def fits(texts: Sequence[tuple[str, float]], profiles: Iterable[Profile]) -> tuple[Fit, ...]:
    """Try profiles on scraped texts, each with its time, the oldest first.

    Returns:
        The profiles that find anything, the best first: one that fits, and reads most of what it
        looks for.
    """
    tried = (_fit(texts, profile) for profile in profiles)
    some = [fit for fit in tried if fit.found or fit.error or fit.idle]

    def order(fit: Fit) -> tuple[bool, bool, bool, int, int]:
        return (
            *(not fit.fits, fit.idle is None, not fit.is_meant),
            *(len(fit.missing), -len(fit.found)),
        )

    return tuple(sorted(some, key=order))


def _fit(texts: Sequence[tuple[str, float]], profile: Profile) -> Fit:
    history, window, last = History(), None, None
    try:
        for text, at in texts:
            last = read(text, profile, at)
            window = history.add(last)
    except ExpositionError as error:
        is_meant = any(_has_durations(text, profile) for text, _ in texts)
        return Fit(profile.name, (), (), None, error.quoted(), is_meant=is_meant)
    wanted = [*_wanted(profile, last)]
    there = [(quantity, families) for quantity, families, is_there in wanted if is_there]
    found = [quantity for quantity, _ in there]
    missing = [(quantity, families) for quantity, families, is_there in wanted if not is_there]
    usable = window if "latency" in found or (found and not profile.latency) else None
    idle = None
    if usable is None:
        gauges = [families[0] for quantity, families in there if quantity in _GAUGES]
        idle = declared(texts[-1][0], profile)
        if idle is None and profile.is_lazy and gauges:
            idle = gauges[0]
    return Fit(profile.name, tuple(found), tuple(missing), usable, idle=idle)


_GAUGES: Final = ("queue", "running")
"""That a server exposes before its first request; families of GPU memory are of several servers."""


def _has_durations(text: str, profile: Profile) -> bool:
    """Whether samples of a profile's durations begin some lines, whatever follows."""
    names = {name for latency in profile.latency for name in latency.samples}
    return any(line.startswith(tuple(names)) for line in text.splitlines()) if names else False


def declared(text: str, profile: Profile) -> str | None:
    """The family of durations that a text declares without a sample of it, if any."""
    types = parse(text, profile.samples, profile.typed, profile.counters).types
    return min((name for name in profile.typed if name in types), default=None)


def _wanted(
    profile: Profile, reading: Reading | None
) -> Iterable[tuple[str, tuple[str, ...], bool]]:
    """Each quantity of a profile, its families, and whether it was read."""
    if reading is None:
        return
    if profile.latency:
        latency = tuple(latency.source.family for latency in profile.latency)
        yield "latency", latency, reading.latency is not None
    if profile.memory is not None:
        families = tuple(dict.fromkeys(each.family for each in profile.memory.sources))
        yield "memory", families, bool(reading.memory)
    for quantity in ("queue", "running", "errors", "tokens"):
        source: Source | None = getattr(profile, quantity)
        if source is not None:
            yield quantity, (source.family,), getattr(reading, quantity) is not None
