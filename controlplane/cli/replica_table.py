"""Replicas of the API's answers as people read them: a table, and a headline for each."""

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from controlplane.cli.printable import printable
from controlplane.client import Replica

_WIDE: Final = 200
"""Columns where there is no terminal: a table in a file or a pipe is not to be wrapped."""

_COLUMNS: Final = (
    "pool",
    "id",
    "address",
    "state",
    "tier",
    "weight",
    "share",
    "classes",
    "capacity",
    "tokens",
    "rate",
    "p99",
    "scraped",
)
_TEXTS: Final = 5
"""Columns of words, to the left; what follows are numbers."""


def print_table(replicas: Sequence[Replica]) -> None:
    """Print one line for each replica."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, name in enumerate(_COLUMNS):
        table.add_column(name, justify="left" if position < _TEXTS else "right", no_wrap=True)
    for replica in replicas:
        table.add_row(*_cells(replica))
    # Nothing in a cell is markup: an IPv6 address stands in brackets.
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = _WIDE
    console.print(table)


def headline(replica: Replica) -> str:
    """One line: who, and what it gets."""
    readings = replica.readings
    parts = [
        state(replica),
        *_given(replica),
        f"capacity {_capacity(replica)}",
        f"p99 {shown(readings.p99_ms if readings else None, ' ms')}",
    ]
    return printable(f"{replica.pool}/{replica.id}: {', '.join(parts)}")


def _given(replica: Replica) -> list[str]:
    """Tier, weight and share, as far as its pool's policy has them."""
    policy, share = replica.policy_in_force, replica.share
    if policy is None or replica.weight is None:
        return ["not weighed yet"]
    given = [replica.tier or f"policy {policy}"]
    told = replica.shares_told_to_envoy
    given.append(f"weight {shown(replica.weight)}" if told else "no weight of its own")
    if share is not None:
        given.append(f"{percent(share)} of the traffic")
    return [*given, f"serves {' and '.join(replica.classes)}"] if replica.classes else given


def _capacity(replica: Replica) -> str:
    """Requests per second, and tokens where they are counted."""
    found = shown(replica.capacity, " req/s")
    tokens = replica.capacity_tokens
    return found if tokens is None else f"{found} ({shown(tokens, ' tokens/s')})"


def state(replica: Replica) -> str:
    """``ready``, and what else keeps requests away."""
    also = [f"draining ({replica.draining})"] if replica.draining else []
    also += ["cut"] if replica.drained else []
    also += ["stale"] if replica.stale else []
    return ", ".join([replica.state, *also])


def percent(share: float | None) -> str:
    """A share of the traffic."""
    return "-" if share is None else f"{share * 100:.1f} %"


def shown(value: float | None, unit: str = "") -> str:
    """A number with three significant digits, whole from 1000 on; a dash when it is not known."""
    if value is None:
        return "-"
    return f"{value:.0f}{unit}" if abs(value) >= 1000 else f"{value:.3g}{unit}"


def _cells(replica: Replica) -> list[str]:
    readings = replica.readings
    age = replica.scrape.age_s
    return [
        printable(text)
        for text in (
            replica.pool,
            replica.id,
            replica.address,
            state(replica),
            replica.tier or "-",
            shown(replica.weight),
            percent(replica.share),
            ", ".join(replica.classes) or "-",
            shown(replica.capacity, "/s"),
            shown(replica.capacity_tokens, "/s"),
            shown(readings.rate_rps if readings else None, "/s"),
            shown(readings.p99_ms if readings else None, " ms"),
            "never" if age is None else f"{shown(age, ' s')} ago",
        )
    ]
