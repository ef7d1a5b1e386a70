"""Replicas of the API's answers as people read them: a table, and a headline for each."""

from collections.abc import Sequence
from typing import Final

from controlplane.cli.printable import printable
from controlplane.cli.tables import UNKNOWN, Column, print_table
from controlplane.client import Replica

_COLUMNS: Final = (
    Column("pool"),
    Column("id"),
    Column("address", rank=2),
    Column("state"),
    Column("tier", rank=6),
    Column("weight", rank=5, is_number=True),
    Column("share", is_number=True),
    Column("classes", rank=8),
    Column("capacity", rank=3, is_number=True),
    Column("tokens", rank=7, is_number=True),
    Column("rate", rank=1, is_number=True),
    Column("p99", rank=4, is_number=True),
    Column("scraped", rank=9, is_number=True),
)


def print_replicas(replicas: Sequence[Replica]) -> None:
    """Print one line for each replica."""
    print_table(_COLUMNS, [_cells(replica) for replica in replicas])


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
    return UNKNOWN if share is None else f"{share * 100:.1f} %"


def shown(value: float | None, unit: str = "") -> str:
    """A number with three significant digits, whole from 1000 on; a dash when it is not known."""
    if value is None:
        return UNKNOWN
    return f"{value:.0f}{unit}" if abs(value) >= 1000 else f"{value:.3g}{unit}"


def _cells(replica: Replica) -> dict[str, str]:
    readings = replica.readings
    age = replica.scrape.age_s
    return {
        "pool": replica.pool,
        "id": replica.id,
        "address": replica.address,
        "state": state(replica),
        "tier": replica.tier or UNKNOWN,
        "weight": shown(replica.weight),
        "share": percent(replica.share),
        "classes": ", ".join(replica.classes) or UNKNOWN,
        "capacity": shown(replica.capacity, "/s"),
        "tokens": shown(replica.capacity_tokens, "/s"),
        "rate": shown(readings.rate_rps if readings else None, "/s"),
        "p99": shown(readings.p99_ms if readings else None, " ms"),
        "scraped": "never" if age is None else f"{shown(age, ' s')} ago",
    }
