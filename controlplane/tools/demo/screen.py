"""Show a demonstration: a live table on a terminal, lines anywhere else; and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from controlplane.api.schema import ReplicaInShort
from controlplane.tools.demo.layout import SLOW, SLOWED
from controlplane.tools.demo.traffic import Phase, Span, after, before, undisturbed
from controlplane.tools.load.envoy import Tally
from controlplane.tools.load.record import Series

_BAR: Final = 24

_FORMS: Final = {
    "capacity": "{:.0f}/s",
    "p99_ms": "{:.0f} ms",
    "memory": "{:.0%}",
    "tier": "{}",
    "weight": "{}",
}
"""How what the control plane reports of a replica is shown."""


@dataclass(frozen=True, slots=True)
class Row:
    """A replica.

    Attributes:
        speed: Part of this machine's speed, 0 to 1.
        share: Of the requests of the last seconds, as the Envoys counted them.
    """

    id: str
    speed: float
    reported: ReplicaInShort | None
    share: float


@dataclass(frozen=True, slots=True)
class Scene:
    """A moment.

    Attributes:
        since: Seconds since the phase began.
        p50: Seconds of the last requests; None without any.
    """

    phase: Phase
    since: float
    rate: float
    requests: int
    failed: int
    p50: float | None
    p99: float | None
    rows: Sequence[Row]


def headline(scene: Scene) -> str:
    """Say what happens now."""
    share = next((row.share for row in scene.rows if row.id == SLOWED), 0.0)
    now = f"it gets {share:.0%} of the requests"
    match scene.phase:
        case Phase.UNDISTURBED if any(
            not (row.reported and row.reported.capacity) for row in scene.rows
        ):
            return "all replicas get the same until something is measured"
        case Phase.UNDISTURBED:
            return "the replicas are undisturbed; each gets what it can carry"
        case Phase.SLOWED:
            return f"replica {SLOWED} was slowed to {SLOW:g}× {scene.since:.0f} s ago; {now}"
        case Phase.RESTORED:
            return f"replica {SLOWED} has had its speed back for {scene.since:.0f} s; {now}"
        case Phase.OVER:
            return "the last answers are coming in"


def render(scene: Scene) -> RenderableType:
    table = Table(expand=False)
    for name in ("replica", "speed", "capacity", "p99", "GPU memory", "tier", "weight"):
        table.add_column(name, justify="left" if name in ("replica", "tier") else "right")
    table.add_column("requests, as the Envoys counted them", min_width=_BAR + 6)
    for row in scene.rows:
        disturbed = row.id == SLOWED and scene.phase is Phase.SLOWED
        table.add_row(*cells(row), style="bold yellow" if disturbed else "")
    colour = {Phase.SLOWED: "yellow", Phase.RESTORED: "green"}.get(scene.phase, "cyan")
    failed = f"[red]{scene.failed} failed[/]" if scene.failed else "none failed"
    latency = ""
    if scene.p50 is not None and scene.p99 is not None:
        latency = f"; last requests p50 {1000 * scene.p50:.0f} ms, p99 {1000 * scene.p99:.0f} ms"
    return Group(
        table,
        Text.from_markup(f"{scene.rate:g} requests/s; {scene.requests} sent, {failed}{latency}"),
        Text(headline(scene), style=f"bold {colour}"),
    )


def cells(row: Row) -> list[str]:
    bar = "█" * round(row.share * _BAR)
    shown = (getattr(row.reported, name, None) for name in _FORMS)
    return [
        row.id,
        f"{row.speed:g}×",
        *(
            "" if value is None else form.format(value)
            for value, form in zip(shown, _FORMS.values(), strict=True)
        ),
        f"{row.share:4.0%} {bar}",
    ]


def speeds(given: Mapping[str, float], phase: Phase) -> dict[str, float]:
    """Return each replica's speed in a phase."""
    return {**given, **({SLOWED: SLOW} if phase is Phase.SLOWED else {})}


class Screen:
    """Shows scenes; the terminal is restored once the context closes."""

    def __init__(self, console: Console, *, live: bool) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if live else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        self._console.print(escape(line), highlight=False, soft_wrap=True)

    def show(self, scene: Scene) -> None:
        if self._live is not None:
            self._live.start()
            self._live.update(render(scene), refresh=True)


@dataclass(frozen=True, slots=True)
class Slowed:
    """The replica that was slowed down.

    Attributes:
        share_before: Its share of the requests just before; None without any.
        share_after: Its share once the weights had followed; None if the load ended before.
    """

    id: str
    share_before: float | None
    share_after: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """All of it.

    Attributes:
        reported: Of the replicas at the end of the undisturbed part.
        shares: Of the requests of the undisturbed part, as the Envoys counted them.
    """

    outcome: Series
    envoys: int
    reported: Mapping[str, ReplicaInShort]
    shares: Mapping[str, float]
    slowed: Slowed

    @classmethod
    def of(
        cls,
        outcome: Series,
        tally: Tally,
        reported: Mapping[str, ReplicaInShort],
        *,
        envoys: int,
        slowed: str,
        seconds: float,
    ) -> "Result":
        """Sum up a demonstration, `seconds` being the length of the first round."""

        def share(span: Span) -> float | None:
            shares = tally.shares(span.since, span.until)
            return shares.get(slowed, 0.0) if shares else None

        all_along = undisturbed(seconds)
        return cls(
            outcome,
            envoys,
            reported,
            tally.shares(all_along.since, all_along.until),
            Slowed(slowed, share(before(seconds)), share(after(seconds))),
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain data for scripts: milliseconds, shares from 0 to 1, null for unknown."""
        latency = self.outcome.latency
        return {
            "requests": self.outcome.requests,
            "failed": self.outcome.failed,
            "envoys": self.envoys,
            "p50_ms": _ms(latency.quantile(0.5)),
            "p99_ms": _ms(latency.quantile(0.99)),
            "replicas": [
                {
                    "id": id_,
                    "capacity": _rounded(reported.capacity, 1),
                    "tier": reported.tier,
                    "weight": reported.weight,
                    "share": _rounded(self.shares.get(id_, 0.0), 3),
                    "p99_ms": _rounded(reported.p99_ms, 1),
                }
                for id_, reported in sorted(self.reported.items())
            ],
            "slowed": {
                "id": self.slowed.id,
                "share_before": _rounded(self.slowed.share_before, 3),
                "share_after": _rounded(self.slowed.share_after, 3),
            },
        }

    def sentences(self) -> list[str]:
        """Return sentences for people."""
        outcome, slowed = self.outcome, self.slowed
        failed = "none failed" if not outcome.failed else f"{outcome.failed} failed"
        lines = [f"{outcome.requests} requests through {self.envoys} Envoys, {failed}"]
        p50, p99 = (outcome.latency.quantile(part) for part in (0.5, 0.99))
        if p50 is not None and p99 is not None:
            lines[0] += f"; half within {1000 * p50:.0f} ms, 99 % within {1000 * p99:.0f} ms"
        if slowed.share_before is not None and slowed.share_after is not None:
            lines.append(
                f"replica {slowed.id} got {slowed.share_before:.0%} of the requests,"
                f" and {slowed.share_after:.0%} while it was slow"
            )
        lines += [f"{count} × {what}" for what, count in outcome.faults.most_common()]
        return lines


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
