"""``plimsoll load``: send open-loop load to your own fleet, and report what limits it."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from random import Random
from typing import Any, Final, NoReturn, Self, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from controlplane.cli.admin import Api, files_of_environment
from controlplane.cli.terminal import USAGE, fail
from controlplane.client import Client, Pool
from controlplane.config import parse_duration
from controlplane.files import read_once
from controlplane.tools.load.diagnosis import ms
from controlplane.tools.load.outcome import Outcome
from controlplane.tools.load.report import draw, is_installed, print_outcome
from controlplane.tools.load.run import ANSWER, Moment, Sources, send
from controlplane.tools.load.schedule import Step, plan, staircase
from controlplane.tools.load.workload import (
    MOST,
    OTHERS,
    Body,
    Classes,
    Format,
    LoadError,
    RequestClass,
    Target,
    Texts,
    Words,
    Workload,
    body_of,
    classes_by_size,
    format_of,
    parse_sizes,
    parse_target,
    parse_texts,
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
    """What to send, what to watch, and what to judge by."""

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
        return read_once(file).decode("utf-8")
    except OSError as error:
        _wrong(option, f"{file} cannot be read: {error.strerror or error}")
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


@click.command
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "--rate",
    default="10",
    show_default=True,
    metavar="R|LOW:HIGH",
    help="Requests per second, all targets together; from LOW to HIGH in --steps.",
)
@click.option("--steps", type=click.IntRange(2, 100), help="Rates from LOW to HIGH.  [default: 8]")
@click.option(
    "--duration", default="30s", show_default=True, help="Time for which each rate is measured."
)
@click.option(
    "--warmup",
    default="2s",
    show_default=True,
    help="Time for which each rate is sent before that.",
)
@click.option(
    "--tokens",
    metavar="N|lognormal:MEAN:SIGMA",
    help="Approximate length of a text of random words.  [default: lognormal:100:1]",
)
@click.option("--texts", type=click.Path(path_type=Path), help="A file of texts, one a line.")
@click.option("--model", help="Model that requests name. Default with --admin: the pool's.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["openai", "tei"]),
    help="Format of the body.  [default: tei where a target ends in /embed, else openai]",
)
@click.option(
    "--body-file",
    type=click.Path(path_type=Path),
    help='A JSON document instead, with "{{text}}" and "{{model}}" in it.',
)
@click.option("--timeout", default="30s", show_default=True, help="Timeout of a request.")
@click.option(
    "--concurrency-limit",
    type=click.IntRange(1, 100_000),
    default=MOST,
    show_default=True,
    help="Requests in flight at which further ones are held back.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of times and texts.")
@click.option("--objective", help="Wanted p99, as in 250ms. Default with --admin: the pool's.")
@click.option(
    "--admin", metavar="URL", help="API of the control plane, which is watched meanwhile."
)
@click.option("--pool", help="Pool that the targets lead to; not needed where there is one.")
@click.option(
    "--envoy-admin",
    multiple=True,
    metavar="URL",
    help="Admin interface of an Envoy; repeat for each Envoy on the way.",
)
@click.option("--replica-header", metavar="NAME", help="Header of answers that names the replica.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--png", type=click.Path(path_type=Path), help="Draw the result into this file.")
def command(as_json: bool, png: Path | None, **given: Any) -> None:
    """Send requests to each TARGET in turn: http://HOST:PORT/PATH, or 3@http://... for three turns.

    Requests leave at random times at the rate, whether or not earlier ones were answered.
    Latency counts from when a request was due.
    """
    if png is not None:
        _drawable(png)
    ordered = order(Given(**given))
    try:
        with Progress(ordered.workload) as progress:
            outcome = asyncio.run(send(ordered.workload, ordered.sources, progress.show))
    except LoadError as error:
        fail(str(error))
    if png is not None:
        _draw(outcome, ordered.objective, png)
    if as_json:
        click.echo(json.dumps(outcome.as_json(ordered.objective), indent=2, allow_nan=False))
    else:
        print_outcome(outcome, ordered.objective)
    if outcome.stopped is not None:
        raise SystemExit(outcome.stopped)


def _draw(outcome: Outcome, objective: float | None, png: Path) -> None:
    try:
        if not draw(outcome, objective, png):
            click.echo("plimsoll: --png: nothing was answered, so nothing is drawn", err=True)
    except OSError as error:
        # The measurements are printed all the same.
        click.echo(f"plimsoll: --png: {png} cannot be written: {error.strerror}", err=True)


def _drawable(png: Path) -> None:
    """Check before the load whether a picture can be drawn after it."""
    if not is_installed():
        fail("--png: matplotlib is not installed: pip install 'plimsoll[plot]'", USAGE)
    if png.is_dir() or not png.parent.is_dir():
        fail(f"--png: {png} cannot be written: give a file in an existing folder", USAGE)


class Progress:
    """A bar on standard error, where that is a terminal; it is gone once the context closes."""

    def __init__(self, workload: Workload) -> None:
        self._bar = Bar(
            BarColumn(bar_width=24),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._live = self._bar.console.is_terminal
        self._task = self._bar.add_task("", total=workload.seconds)

    def __enter__(self) -> Self:
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._bar.stop()

    def show(self, now: Moment) -> None:
        if self._live:
            self._bar.update(self._task, completed=now.elapsed, description=line(now), refresh=True)


def line(now: Moment) -> str:
    """Return the text beside the bar."""
    p99 = "" if now.p99 is None else f", p99 {ms(now.p99)}"
    failed = f", {now.failed} failed" if now.failed else ""
    return f"{now.rate:.4g}/s, {now.sent} sent, {now.in_flight} in flight{p99}{failed}"
