"""Turn the options of ``plimsoll load`` into a workload; a wrong option ends the process."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from random import Random
from typing import Final, NoReturn, TypeVar

from controlplane.cli.admin import Api, files_of_environment
from controlplane.cli.terminal import USAGE, fail
from controlplane.client import Client, Pool
from controlplane.config import parse_duration
from controlplane.tools.load.run import ANSWER, Sources
from controlplane.tools.load.schedule import Step, plan, staircase
from controlplane.tools.load.texts import Texts, Words, parse_sizes, parse_texts
from controlplane.tools.load.workload import (
    OTHERS,
    Body,
    Classes,
    Format,
    RequestClass,
    Target,
    Workload,
    body_of,
    classes_by_size,
    format_of,
    parse_target,
    parse_url,
    template,
)

FASTEST: Final = 100_000.0
"""Requests per second; far more than one process can send."""

LONGEST: Final = 86_400.0
"""Seconds of any duration."""

STEPS: Final = 8
"""Of a staircase, unless the user says otherwise."""

SAMPLED: Final = 500
"""Bodies by whose sizes it is decided whether requests have classes."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Given:
    """The options as they are on the command line."""

    targets: tuple[str, ...]
    rate: str
    steps: int | None
    duration: str
    warmup: str
    tokens: str | None
    texts: Path | None
    model: str | None
    form: Format | None
    body_file: Path | None
    timeout: str
    concurrency_limit: int
    seed: int
    objective: str | None
    admin: str | None
    pool: str | None
    envoy_admin: tuple[str, ...]
    replica_header: str | None


@dataclass(frozen=True, slots=True)
class Order:
    """What to send, what to watch, and what to judge by.

    Attributes:
        objective: Seconds of the 99th percentile; None: there is none.
    """

    workload: Workload
    sources: Sources
    objective: float | None


def order(given: Given) -> Order:
    """Read the options, and take from the pool what they leave open."""
    targets = [_read("TARGET", parse_target, text) for text in given.targets]
    steps = _steps(given)
    texts = _texts(given)
    timeout = _duration("--timeout", given.timeout)
    objective = given.objective and _duration("--objective", given.objective)
    envoys = tuple(_read("--envoy-admin", _base, text) for text in given.envoy_admin)
    if envoys and not given.pool and not given.admin:
        _wrong("--pool", "with --envoy-admin, name the pool: it is the name of Envoy's cluster")
    token = os.environ.get("PLIMSOLL_TOKEN", "").strip()
    files = files_of_environment()
    pool = _pool(given, Api(given.admin, token, "--admin", **files)) if given.admin else None
    model = given.model or (pool.model if pool else None)
    bodies = [_body(given, target, model) for target in targets]
    if objective is None and pool is not None and pool.objective is not None:
        objective = parse_duration(pool.objective.p99)
    return Order(
        Workload(
            targets=targets,
            bodies=bodies,
            steps=steps,
            texts=texts,
            seed=given.seed,
            timeout=timeout,
            most=given.concurrency_limit,
            replica_header=given.replica_header,
            classes=_classes(pool, texts, bodies[0]),
        ),
        Sources(
            pool=pool.name if pool else given.pool or "",
            api=Client(given.admin, token=token, timeout=ANSWER, **files) if given.admin else None,
            envoys=envoys,
        ),
        objective or None,
    )


def _steps(given: Given) -> tuple[Step, ...]:
    low, colon, high = given.rate.partition(":")
    rates: tuple[float, ...]
    if colon:
        first, last = _rate(low, given.rate), _rate(high, given.rate)
        if first >= last:
            _wrong("--rate", f"{given.rate!r} does not rise: write the lower rate first")
        count = STEPS if given.steps is None else given.steps
        if count < 2:
            _wrong("--steps", "from one rate to another takes 2 steps or more")
        rates = staircase(first, last, count)
    else:
        if given.steps is not None:
            _wrong("--steps", 'one rate is one step; a staircase is "--rate 10:200 --steps 8"')
        rates = (_rate(low, given.rate),)
    duration = _duration("--duration", given.duration)
    return plan(rates, _duration("--warmup", given.warmup, least=0.0), duration)


def _rate(text: str, whole: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not isfinite(rate) or not 0 < rate <= FASTEST:
        _wrong(
            "--rate",
            f"{whole!r} is not a number of requests per second up to {FASTEST:.0f}, as in"
            ' "50", nor two of them for a staircase, as in "10:200"',
        )
    return rate


def _texts(given: Given) -> Texts:
    if given.texts is None:
        return Words(_read("--tokens", parse_sizes, given.tokens or "lognormal:100:1"))
    if given.tokens is not None:
        _wrong("--tokens", "the texts of --texts have their own lengths; leave one of both out")
    return _read(f"--texts: {given.texts}", parse_texts, _content("--texts", given.texts))


def _body(given: Given, target: Target, model: str | None) -> Body:
    if given.body_file is not None:
        if given.form is not None:
            _wrong("--format", "--body-file says what a body looks like; leave one of both out")
        content = _content("--body-file", given.body_file)
        where = f"--body-file: {given.body_file}"
        return _read(where, lambda text: template(text, model or ""), content)
    form = given.form or format_of(target.path)
    if form == "openai" and not model:
        _wrong("--model", "OpenAI's API wants a model: name it, or take the pool's with --admin")
    return body_of(form, model or "")


def _classes(pool: Pool | None, texts: Texts, body: Body) -> Classes:
    known = pool and (pool.parting or pool.classes)
    if not known:
        chance = Random(0)  # noqa: S311 - decides about no secrets
        return classes_by_size(len(body(texts.draw(chance))) for _ in range(SAMPLED))
    found = [RequestClass(each.name, each.match) for each in known]
    return found if found[-1].match is None else [*found, RequestClass(OTHERS, None)]


def _pool(given: Given, api: Api) -> Pool:
    known = api.ask(Client.pools)
    if given.pool is None and len(known) == 1:
        return known[0]
    names = ", ".join(pool.name for pool in known) or "none"
    for pool in known:
        if pool.name == given.pool:
            return pool
    if given.pool is not None:
        return _wrong("--pool", f"the control plane has no pool {given.pool!r}, but: {names}")
    return _wrong(
        "--pool", f"name the pool that the targets lead to; the control plane has: {names}"
    )


def _duration(option: str, text: str, least: float = 0.001) -> float:
    seconds = _read(option, parse_duration, text)
    if not least <= seconds <= LONGEST:
        _wrong(option, f"{text} is out of range: {'0s' if not least else '1ms'} to 24h")
    return seconds


def _base(text: str) -> str:
    return parse_url(text).rstrip("/")


def _content(option: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        _wrong(option, f"{file} cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        _wrong(option, f"{file} is not UTF-8 at byte {error.start}")


def _read(where: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        _wrong(where, str(error))


def _wrong(where: str, why: str) -> NoReturn:
    joint = " " if where.startswith(("--texts: ", "--body-file: ")) else ": "
    fail(f"{where}{joint}{why}", USAGE)
