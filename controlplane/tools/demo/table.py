"""What is seen on a terminal while it runs: a scene in, a rich table out. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from controlplane.tools.demo.layout import SLOW, SLOWED
from controlplane.tools.demo.story import Phase
from controlplane.tools.load.standing import Standing

_BAR: Final = 24


@dataclass(frozen=True, slots=True)
class Row:
    """A replica.

    Attributes:
        speed: As given, 1 for all that this machine can do.
        share: Of the requests of the last seconds, as the Envoys counted them.
    """

    id: str
    speed: float
    standing: Standing
    share: float


@dataclass(frozen=True, slots=True)
class Scene:
    """A moment.

    Attributes:
        phase: That is on.
        since: For how many seconds.
        requests: Sent and answered until now.
        failed: Of them.
        p50: Of the last requests, seconds; None without any.
        p99: The same.
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
    """What is happening now."""
    share = next((row.share for row in scene.rows if row.id == SLOWED), 0.0)
    now = f"it gets {share:.0%} of the requests"
    match scene.phase:
        case Phase.UNDISTURBED if any(row.standing.capacity is None for row in scene.rows):
            return "all replicas get the same until there is something to measure"
        case Phase.UNDISTURBED:
            return "nobody disturbs the replicas; each gets what it can carry"
        case Phase.SLOWED:
            return f"replica {SLOWED} was slowed to {SLOW:g}× {scene.since:.0f} s ago; {now}"
        case Phase.RESTORED:
            return f"replica {SLOWED} has had its speed back for {scene.since:.0f} s; {now}"
        case Phase.OVER:
            return "the last answers are coming in"


def render(scene: Scene) -> RenderableType:
    """Draw a scene."""
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
        latency = f"; lately p50 {1000 * scene.p50:.0f} ms, p99 {1000 * scene.p99:.0f} ms"
    return Group(
        table,
        Text.from_markup(f"{scene.rate:g} requests/s; {scene.requests} sent, {failed}{latency}"),
        Text(headline(scene), style=f"bold {colour}"),
    )


def cells(row: Row) -> list[str]:
    """What stands in a replica's row."""
    standing = row.standing
    bar = "█" * round(row.share * _BAR)
    return [
        row.id,
        f"{row.speed:g}×",
        _shown(standing.capacity, "{:.0f}/s"),
        _shown(standing.p99_ms, "{:.0f} ms"),
        _shown(standing.memory, "{:.0%}"),
        standing.tier or "",
        _shown(standing.weight, "{}"),
        f"{row.share:4.0%} {bar}",
    ]


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def speeds(given: Mapping[str, float], phase: Phase) -> dict[str, float]:
    """Each replica's speed in a phase."""
    return {**given, **({SLOWED: SLOW} if phase is Phase.SLOWED else {})}
