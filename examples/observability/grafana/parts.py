"""What dashboards are made of: boards of rows of panels, and the queries that many have."""

from typing import Final, NamedTuple


class Panel(NamedTuple):
    """One chart, or one number.

    Attributes:
        title: What it shows.
        unit: Grafana's name of it.
        queries: PromQL, and what a series is called.
        text: What to make of it.
        is_number: Whether only the newest value is shown.
    """

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    text: str = ""
    is_number: bool = False


class Row(NamedTuple):
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


class Board(NamedTuple):
    """A dashboard.

    Attributes:
        name: Of its file, and in its address.
        title: For people.
        text: What it is for.
        variables: That its queries have.
        rows: Of panels.
    """

    name: str
    title: str
    text: str
    variables: tuple[str, ...]
    rows: tuple[Row, ...]


def number(title: str, query: str, unit: str = "short", text: str = "") -> Panel:
    """Show the newest value of a query with one series."""
    return Panel(title, unit, ((query, ""),), text, is_number=True)


OF_POOL: Final = 'job="$job", pool="$pool"'
OF_REPLICA: Final = 'job="$job", pool="$pool", replica="$replica"'


def quantile(part: float, name: str, by: str, which: str) -> str:
    """Write the query for a quantile of a histogram.

    Args:
        part: 0 to 1.
        name: Of the histogram.
        by: Labels to keep.
        which: Matchers of labels.
    """
    rate = f"rate({name}_bucket{{{which}}}[$__rate_interval])"
    return f"histogram_quantile({part}, sum by ({by}, le) ({rate}))"


def rate(name: str, by: str, which: str, at: str = "") -> str:
    """Write the query for the rate of a counter, by labels, of series with these labels."""
    return f"sum by ({by}) (rate({name}{{{which}}}[$__rate_interval]{at}))"


MOST: Final = 40
"""Lines in a chart of replicas: a pool may have thousands, which no browser draws."""


def highest(query: str, *, lowest: bool = False) -> str:
    """Write a query for the replicas that are highest, or lowest, at the end of the chart.

    Args:
        query: With a series for each replica. ``{at}`` stands after each of its selectors.
        lowest: Take those at the other end.
    """
    which = "bottomk" if lowest else "topk"
    now = query.replace("{at}", " @ end()")
    return f"{query.replace('{at}', '')} and on (replica) {which}({MOST}, {now})"


def each(name: str, *, lowest: bool = False) -> str:
    """Write the query for the replicas of a pool with the highest, or lowest, values."""
    return highest(f"{name}{{{OF_POOL}}}{{at}}", lowest=lowest)


def rates(name: str) -> str:
    """Write the query for the replicas of a pool with the highest rates of a counter."""
    return highest(rate(name, "replica", OF_POOL, "{at}"))


HIGHEST: Final = f"The {MOST} highest."
DURATION: Final = "plimsoll_sampled_request_duration_seconds"
BURN: Final = "1 spends the error budget just in time; 14.4 for an hour a fiftieth of a month's."

OF_JOB: Final = 'job="$job"'
