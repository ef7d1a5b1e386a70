"""The result of a demonstration, for people and for scripts. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.tools.demo import story
from controlplane.tools.load.envoy import Tally
from controlplane.tools.load.record import Series
from controlplane.tools.load.replicas import Reported


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
    reported: Mapping[str, Reported]
    shares: Mapping[str, float]
    slowed: Slowed

    @classmethod
    def of(
        cls,
        outcome: Series,
        tally: Tally,
        reported: Mapping[str, Reported],
        *,
        envoys: int,
        slowed: str,
        seconds: float,
    ) -> "Result":
        """Sum up a demonstration, `seconds` being the length of the first round."""

        def share(span: story.Span) -> float | None:
            shares = tally.shares(span.since, span.until)
            return shares.get(slowed, 0.0) if shares else None

        undisturbed = story.undisturbed(seconds)
        return cls(
            outcome,
            envoys,
            reported,
            tally.shares(undisturbed.since, undisturbed.until),
            Slowed(slowed, share(story.before(seconds)), share(story.after(seconds))),
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
