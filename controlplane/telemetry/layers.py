"""Models of one server that are steps of a request to another, recognised by their counts.

A Triton ensemble counts a request for itself and for each model that it runs, a Ray application for
its ingress and for each deployment behind it. Neither says so. But then all of them count as many
requests, but for those that are under way, and a step takes no longer than the request it is of.
"""

import math
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from controlplane.telemetry.exposition import Exposition
from controlplane.telemetry.layouts import Place
from controlplane.telemetry.profile import Latency, Profile, Source

ENOUGH: Final = 10.0
"""Requests from which on equal counts are no chance."""
UNDER_WAY: Final = 8.0
"""Requests by which counts of one request's steps differ anyway."""
NEARLY: Final = 0.02
"""Part of its requests by which a step's count may differ from it: some were sent to it alone."""
LONGER: Final = 1.02
"""Times as long as the request that its step may have taken: clocks are read twice."""
NAMED: Final = 4
"""Models that a note names."""


@dataclass(frozen=True, slots=True)
class Counting:
    """The profile that counts each request once, and a sentence for the operator if one is due."""

    profile: Profile
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Models:
    """Where an exposition of one layout counts the requests of each model, and their durations.

    `steps` are the models that the server itself calls steps.
    """

    counts: Mapping[str, tuple[int, ...]]
    totals: Mapping[str, tuple[int, ...]]
    steps: frozenset[str] = frozenset()


def counting(exposition: Exposition, profile: Profile) -> Counting:
    """How the models that an exposition tells apart are to be counted under a profile."""
    name = profile.model_label
    if not name:
        return Counting(profile)
    models: _Models | None = exposition.layout.known.get((profile, "models"))
    if models is None:
        models = exposition.layout.known[profile, "models"] = _models(exposition, profile)
    if len(models.counts) < 2:
        return Counting(profile)
    steps = models.steps
    if profile.is_layered:
        steps |= _steps(models, exposition.values)
    return _counting(profile, tuple(sorted(models.counts)), steps)


@lru_cache(maxsize=1024)
def _counting(profile: Profile, models: tuple[str, ...], steps: frozenset[str]) -> Counting:
    """The same object for all replicas and scrapes with the same models and steps."""
    name = profile.model_label
    asked = tuple(each for each in profile.latency[0].source.labels if each[0] == name)
    if asked:
        # A user chose. What waits for the steps of a model waits for it.
        of_user = Source("", labels=asked)
        chosen = frozenset(each for each in models if of_user.takes({name: each}))
        if len(chosen) != 1 or chosen & steps or not steps:
            return Counting(profile)
        return Counting(profile.without(steps, frozenset(models) - steps - chosen))
    counted = [each for each in models if each not in steps]
    how = f"(metrics: {{labels: {{{name}: NAME}}}} counts one alone)"
    if not steps:
        added = (
            f"the requests of {len(models)} values of {name} are added up: {_names(models)} {how}"
        )
        return Counting(profile, added)
    note = (
        f"of {len(models)} values of {name}, {_names(counted)} {_is(counted)} counted and"
        f" {_names(sorted(steps))} {_is(steps)} not, because the same requests are counted there"
        f" again as steps {how}"
    )
    return Counting(profile.without(steps, frozenset()), note)


def _names(models: Sequence[str]) -> str:
    shown = [ascii(model)[1:-1][:40] for model in models[:NAMED]]
    more = len(models) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _is(models: Sized) -> str:
    return "is" if len(models) == 1 else "are"


def _steps(models: _Models, values: Sequence[float]) -> frozenset[str]:
    """The models whose requests are those of another one, by how many they are."""
    counts = {name: sum(values[each] for each in of) for name, of in models.counts.items()}
    totals = {name: sum(values[each] for each in of) for name, of in models.totals.items()}
    left = sorted(counts, key=lambda name: (-totals.get(name, 0.0), name))
    steps: set[str] = set()
    for whole in left:
        if whole in steps or not counts[whole] >= ENOUGH:
            continue
        most = UNDER_WAY + NEARLY * counts[whole]
        for part in left:
            if (
                part == whole
                or part in steps
                or totals.get(part, math.inf) > LONGER * totals.get(whole, 0.0)
            ):
                continue
            if abs(counts[part] - counts[whole]) <= most and counts[part] >= ENOUGH:
                steps.add(part)
    return frozenset(steps)


def _models(exposition: Exposition, profile: Profile) -> _Models:
    for latency in profile.latency:
        counts, totals = _places(exposition, latency, profile.model_label)
        by_model = _by_model(counts, profile.model_label)
        if by_model:
            return _Models(
                by_model,
                _by_model(totals, profile.model_label),
                _declared_steps(counts, profile),
            )
    return _Models({}, {})


def _places(
    exposition: Exposition, latency: Latency, label: str
) -> tuple[Sequence[Place], Sequence[Place]]:
    """Where requests are counted, and how long they took, of all models."""
    of_all = tuple(each for each in latency.source.labels if each[0] != label)
    source, layout = replace(latency.source, labels=of_all), exposition.layout
    if latency.kind == "histogram":
        buckets = layout.of(source, "_bucket")
        return [each for each in buckets if each[0].bound == math.inf], layout.of(source, "_sum")
    if latency.kind == "summary":
        return layout.of(source, "_count"), layout.of(source, "_sum")
    count = replace(source, family=latency.count or "", others=())
    return layout.of_counter(count), layout.of_counter(source)


def _by_model(places: Iterable[Place], label: str) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for labels, index in places:
        if (name := labels.values.get(label)) is not None:
            found[name] = (*found.get(name, ()), index)
    return found


def _declared_steps(counts: Iterable[Place], profile: Profile) -> frozenset[str]:
    """Models without any entry for clients, where others have one."""
    if not profile.entry_label:
        return frozenset()
    entries: dict[str, bool] = {}
    for labels, _ in counts:
        if (name := labels.values.get(profile.model_label)) is not None:
            is_entry = labels.values.get(profile.entry_label, "*") != ""
            entries[name] = entries.get(name, False) or is_entry
    if not any(entries.values()):
        return frozenset()
    return frozenset(name for name, is_entry in entries.items() if not is_entry)
