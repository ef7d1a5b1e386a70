"""Loads drawn at random, so that no rule is chosen for the few that have names."""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from benchmarks.scaling.loads import STEP, Shape
from benchmarks.scaling.play import Run

SECONDS: Final = 7200.0


def _diurnal(random: Random) -> Shape:
    period, phase = random.uniform(1, 12) * 3600, random.uniform(0, 2 * math.pi)
    high, part = random.uniform(4, 10), random.uniform(0.1, 0.6)

    def rate(at: float) -> float:
        return high * (1 - (1 - part) * (0.5 + 0.5 * math.cos(2 * math.pi * at / period + phase)))

    return Shape("diurnal", SECONDS, rate)


def _steps(random: Random) -> Shape:
    every, starts, levels = random.uniform(600, 2400), [0.0], [random.uniform(1, 8)]
    while starts[-1] < SECONDS:
        starts.append(starts[-1] + random.expovariate(1 / every))
        levels.append(random.uniform(1, 8))
    return Shape("steps", SECONDS, lambda at: levels[bisect_right(starts, at) - 1])


def _bursts(random: Random, name: str, every: float, lasts: float, *, of_bulk: bool) -> Shape:
    base, height = random.uniform(1, 4), random.uniform(1, 6)
    edges, heights, at = [0.0], [0.0], 0.0
    while at < SECONDS:
        at += random.expovariate(1 / every)
        edges.append(at)
        heights.append(height * random.uniform(0.5, 1.5))
        at += lasts * random.uniform(0.5, 1.5)
        edges.append(at)
        heights.append(0.0)

    def extra(at: float) -> float:
        return heights[bisect_right(edges, at) - 1]

    if of_bulk:
        return Shape(name, SECONDS, lambda _: base, extra)
    return Shape(name, SECONDS, lambda at: base + extra(at))


def _spikes(random: Random) -> Shape:
    every, lasts = random.uniform(400, 2400), random.uniform(60, 600)
    return _bursts(random, "spikes", every, lasts, of_bulk=False)


def _jobs(random: Random) -> Shape:
    every, lasts = random.uniform(900, 3600), random.uniform(300, 1800)
    return _bursts(random, "bulk jobs", every, lasts, of_bulk=True)


def _leak(random: Random) -> Shape:
    level, lost = random.uniform(2, 6), random.uniform(0.3, 0.6)
    return Shape("slow leak", SECONDS, lambda _: level, pace=lambda at: 1 - lost * at / SECONDS)


def _noise(random: Random) -> Shape:
    level, sigma, lasts = random.uniform(2, 6), random.uniform(0.1, 0.4), random.uniform(20, 300)
    kept, value, values = math.exp(-STEP / lasts), 0.0, list[float]()
    for _ in range(math.ceil(SECONDS / STEP)):
        value = kept * value + random.gauss(0, sigma * math.sqrt(1 - kept**2))
        values.append(level * math.exp(value))
    return Shape("noise", SECONDS, lambda at: values[int(at / STEP)])


KINDS: Final[Mapping[str, Callable[[Random], Shape]]] = {
    "diurnal": _diurnal,
    "steps": _steps,
    "spikes": _spikes,
    "bulk jobs": _jobs,
    "slow leak": _leak,
    "noise": _noise,
}


def draw(kind: Callable[[Random], Shape], seed: int) -> Run:
    """Draw a load of a kind, a factor of its rates, and the seconds of a cold start."""
    random = Random(f"{kind.__name__} {seed}")
    shape = kind(random)
    return Run(shape, seed, 0.4 * 6.25 ** random.random(), 20 * 9 ** random.random())
