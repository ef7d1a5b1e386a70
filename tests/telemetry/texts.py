"""Expositions as replicas serve them, for the tests of what is read from them."""

from collections.abc import Mapping, Sequence

from controlplane.config import MetricsSettings
from controlplane.telemetry import Profile, profile_of

TEI: Profile = profile_of(MetricsSettings())


def histogram(
    counts: Mapping[str, float], total: float, family: str = "te_request_duration", labels: str = ""
) -> str:
    """The lines of a histogram; `counts` are cumulative by bound, `labels` such as ``a="b",``."""
    block = f"{{{labels.rstrip(',')}}}" if labels else ""
    lines = [f'{family}_bucket{{{labels}le="{bound}"}} {count}' for bound, count in counts.items()]
    lines += [f"{family}_sum{block} {total}", f"{family}_count{block} {list(counts.values())[-1]}"]
    return "\n".join((f"# TYPE {family} histogram", *lines, ""))


def tei(count: int = 4, seconds: float = 0.1, more: Sequence[str] = ()) -> str:
    """A server that has answered `count` requests in `seconds` each."""
    bounds = ("0.05", "0.2", "1", "+Inf")
    counts = {bound: float(count) if float(bound) >= seconds else 0.0 for bound in bounds}
    return histogram(counts, count * seconds) + "".join(f"{line}\n" for line in more)
