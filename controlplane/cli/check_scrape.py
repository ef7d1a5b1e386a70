"""`plimsoll check --scrape`: which metric profile a live endpoint fits, and what it yields."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

from controlplane.balancing.sentences import duration, number, percent
from controlplane.config import Address, parse_address, validated
from controlplane.config.metrics import AccessSettings
from controlplane.scraping.scrape import MAX_DEADLINE, Access, Getter, Receiver, scrape
from controlplane.telemetry import (
    PROFILES,
    Device,
    ExpositionError,
    Fit,
    GpuMemory,
    Window,
    fits,
    read_devices,
)
from controlplane.telemetry.devices import DEVICE_PROFILES

MAX_BYTES: Final = 64 << 20
"""Of an exposition."""

_NEAR: Final = 3
"""Profiles that do not fit, and are still shown with what they lack."""

_SCRAPES: Final = 6
"""Scrapes in the given time, each over a connection of its own: behind one port there may be
several processes, and each connection reaches one."""

_PORTS: Final = {"http": 80, "https": 443}

_EMPTY: Final = (
    "the answer is empty: the server is up and has counted nothing yet, as"
    " text-embeddings-inference before its first request; send it a request and check again"
)


def parse_target(text: str) -> tuple[Address, str, str]:
    """Read ``HOST:PORT[/path]`` or a URL; returns the address, the path and the scheme."""
    url = text if "://" in text else f"http://{text}"
    scheme, place, path, query, fragment = urlsplit(url)
    if scheme not in _PORTS:
        raise ValueError(f"{scheme}:// is not scraped, only http:// and https://")
    if fragment or not f"{path}{query}".isprintable() or " " in path + query:
        raise ValueError("a path has no fragment, and no spaces")
    has_port = ":" in place.rpartition("]")[2]
    address = parse_address(place if has_port else f"{place}:{_PORTS[scheme]}")
    return address, (path or "/metrics") + (f"?{query}" if query else ""), scheme


def access_of(scheme: str, options: Mapping[str, str | None]) -> Access | None:
    """Read the credentials and certificates among the options; None: none are needed."""
    keys = {"user": "username"}
    given = {keys.get(key, key): value for key, value in options.items() if value is not None}
    if scheme == "http" and not given:
        return None
    return Access(validated(AccessSettings, {"scheme": scheme, **given}))


async def scraped(
    address: Address, path: str, seconds: float, access: Access | None
) -> list[tuple[str, float]]:
    """Scrape an address several times in so many seconds; once where that is 0."""
    share = Receiver()
    begun = time.monotonic()
    texts = []
    for turn in range(_SCRAPES if seconds > 0 else 1):
        next_at = begun + seconds * turn / (_SCRAPES - 1)
        await asyncio.sleep(max(next_at - time.monotonic(), 0.0))
        with closing(Getter(share)) as getter:
            scraping = scrape(getter, address, path, MAX_DEADLINE, most=MAX_BYTES, access=access)
            texts.append(await scraping)
    return texts


class Exporter(NamedTuple):
    """An exporter of GPU memory: the name of its profile, and its GPUs."""

    profile: str
    devices: tuple[Device, ...]

    @classmethod
    def of(cls, text: str) -> Self | None:
        """The first profile that finds a GPU in a text."""
        for profile in DEVICE_PROFILES.values():
            try:
                devices = read_devices(text, profile)
            except ExpositionError:
                continue
            if devices:
                return cls(profile.name, devices)
        return None

    def lines(self) -> Iterator[str]:
        yield (
            f"profile {self.profile} of GPU memory fits: choose the profile of the server, and"
            f" metrics: {{gpu: {{profile: {self.profile}, addresses: [...]}}}} beside it"
        )
        for device in self.devices:
            pods = ", ".join(sorted("/".join(pod) for pod in device.pods))
            yield f"  GPU memory: {_memory(device.memory)}{f' by {pods}' if pods else ''}"


class Found(NamedTuple):
    """What the known profiles make of an endpoint, the best first; `exporter`: of GPUs alone."""

    fits: tuple[Fit, ...]
    is_empty: bool
    exporter: "Exporter | None" = None

    @classmethod
    def of(cls, texts: Sequence[tuple[str, float]]) -> Self:
        """Compare scraped texts with all profiles."""
        is_empty = not any(text.strip() for text, _ in texts)
        found = cls(fits(texts, PROFILES.values()), is_empty)
        return found if found.best else found._replace(exporter=Exporter.of(texts[-1][0]))

    @property
    def best(self) -> Fit | None:
        """The profile that fits, or would once the server has served a request."""
        first = self.fits[0] if self.fits else None
        return first if first is not None and (first.fits or first.idle) else None

    def lines(self) -> Iterator[str]:
        if self.is_empty:
            yield _EMPTY
            return
        best = self.best
        if self.exporter is not None:
            yield from self.exporter.lines()
        elif best is None:
            yield from self._none()
        elif best.window is None:
            how = "is there, and no duration of a request so far"
            if best.idle in PROFILES[best.profile].typed:
                how = "is declared and has counted nothing yet"
            yield (
                f"profile {best.profile}, idle: {best.idle} {how}; send it a request and check"
                " again"
            )
            yield from _lacks(best)
        else:
            yield f"profile {best.profile} fits"
            yield from (f"  {name}: {value}" for name, value in _yields(best.window))
            yield from _lacks(best)
        for fit in [fit for fit in self.fits if fit is not best and fit.error is None][:_NEAR]:
            yield f"profile {fit.profile} {'fits too' if fit.fits else 'nearly fits'}"
            yield from _lacks(fit)

    def _none(self) -> Iterator[str]:
        meant = [fit for fit in self.fits if fit.is_meant]
        for fit in meant:
            named = f"the families of profile {fit.profile} are there, and cannot be read"
            yield f"{named}: {fit.error}"
        if meant:
            return
        yield "no profile fits; profile prometheus reads families that you name, docs/profiles.md"
        errors = dict.fromkeys(fit.error for fit in self.fits if fit.error is not None)
        yield from (f"it cannot be read: {error}" for error in [*errors][:_NEAR])

    def document(self) -> dict[str, Any]:
        """The result for a program; the keys have the units."""
        best = self.best
        return {
            "ok": best is not None or self.exporter is not None,
            "idle": self.is_empty or (best is not None and best.idle is not None),
            "profile": best.profile if best else None,
            "exporter": self.exporter.profile if self.exporter else None,
            "yields": _plain(best.window) if best and best.window else None,
            "profiles": [
                {
                    "profile": fit.profile,
                    "fits": fit.fits,
                    "idle": fit.idle,
                    "found": list(fit.found),
                    "missing": {quantity: list(families) for quantity, families in fit.missing},
                    "error": fit.error,
                }
                for fit in self.fits
            ],
        }


def _lacks(fit: Fit) -> Iterator[str]:
    for quantity, families in fit.missing:
        yield f"  lacks {quantity}: no {' or '.join(families)}"


def _yields(window: Window) -> Iterator[tuple[str, str]]:
    if window.tokens_in is not None and window.seconds > 0:
        yield "tokens", f"{number(window.tokens_in / window.seconds)}/s"
    if window.samples > 0 and window.latency is not None:
        yield "rate", f"{number(window.rate)} requests/s over {duration(window.seconds)}"
        yield "mean latency", duration(window.latency)
        if window.p99 is None:
            yield "p99", "unknown: the server exposes no distribution, so the mean is used"
        elif window.resolution == "ok":
            yield "p99", duration(window.p99)
        else:
            which = window.resolution
            yield "p99", f"about {duration(window.p99)}, in the {which}: the mean is used instead"
    elif window.seconds > 0:
        yield "latency", f"no request in {duration(window.seconds)}: send some and check again"
    else:
        yield "latency", "one scrape says nothing of the rate: check with --seconds above 0"
    for name, value in (("queue", window.queue), ("running", window.running)):
        if value is not None:
            yield name, f"{number(value)} {window.queue_unit}"
    for gpu in window.memory:
        yield "GPU memory", _memory(gpu)
    for note in (window.note or "").split("; "):
        if note:
            yield "note", note


def _memory(gpu: GpuMemory) -> str:
    of = f" of {gpu.total / 2**30:.1f} GiB" if gpu.total > 1 else ""
    return f"{percent(gpu.fraction)}{of} in use" + (f" on {gpu.uuid}" if gpu.uuid else "")


def _plain(window: Window) -> dict[str, Any]:
    return {
        "seconds": window.seconds,
        "samples": window.samples,
        "rate_rps": window.rate if window.seconds > 0 else None,
        "latency_mean_ms": None if window.latency is None else window.latency * 1000,
        "p99_ms": None if window.p99 is None else window.p99 * 1000,
        "p99_resolution": window.resolution if window.samples > 0 else None,
        "queue": window.queue,
        "running": window.running,
        "memory": [{"gpu": gpu.uuid, "fraction": gpu.fraction} for gpu in window.memory],
        "note": window.note,
    }
