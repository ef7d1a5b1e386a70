"""The exposition as a whole: what promtool would check, and the page that describes it."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from controlplane import __version__
from controlplane.identity import Credentials
from tests.metrics.exposed import everything, families, parsed, text, values
from tests.metrics.test_fleet import busy_plane, plane
from tests.metrics.test_replicas import loaded_plane
from tests.metrics.test_requests import promised
from tests.plane.lives import SIZES, measured
from tests.plane.test_zones import zoned

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
CERTIFICATES = trustme.CA()
END = datetime.now(UTC).replace(microsecond=0) + timedelta(days=7)
DAYS = (timedelta(days=1), timedelta(days=2))
TYPES = {"counter": "counter", "gauge": "gauge", "histogram": "histogram"}


def described() -> dict[str, tuple[str, str]]:
    """Type and labels by name, as the page has them."""
    rows = re.findall(r"^\| `([\w:]+)` \| (\w+) \| (.*?) \| .+ \|$", PAGE.read_text(), re.M)
    return {name: (kind, labels) for name, kind, labels in rows}


def exported() -> dict[str, tuple[str, str]]:
    """The same, as it is exported."""
    planes = (busy_plane(), measured(345, SIZES).plane, zoned(), loaded_plane(), promised())
    found, *others = (families(everything(each)) for each in planes)
    with_series = (
        next((item for each in (found, *others) if (item := each[name]).samples), found[name])
        for name in found
    )
    return {
        _name(family): (family.type, ", ".join(f"`{label}`" for label in _labels(family)))
        for family in with_series
    }


def _name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _labels(family: Metric) -> list[str]:
    assert family.samples, f"{family.name} has no series to see its labels by"
    return [label for label in family.samples[0].labels if label != "le"]


def credentials(made: trustme.LeafCert) -> Credentials:
    chain = b"".join(each.bytes() for each in made.cert_chain_pems)
    return Credentials(chain, made.private_key_pem.bytes(), None)


def test_the_page_describes_what_is_exported_and_nothing_else() -> None:
    assert described() == exported()


def test_each_family_has_a_help_text_and_a_type() -> None:
    for name, family in families(everything(plane())).items():
        assert family.documentation.endswith((".", "time in seconds.")), name
        assert family.type in TYPES, name


def test_no_series_is_there_twice() -> None:
    shown = text(everything(plane()))
    series = [line.rpartition(" ")[0] for line in shown.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))


def test_counters_end_in_total_and_nothing_else_does() -> None:
    for family in families(everything(plane())).values():
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name


def test_names_have_the_prefix_and_no_unit_but_the_base_units() -> None:
    for name in families(everything(plane())):
        assert name.startswith(("plimsoll_", "process_")), name
        assert not re.search(r"_(ms|milliseconds|percent|kb|minutes)(_|$)", name), name


def test_the_process_and_the_build_are_shown() -> None:
    metrics = everything(plane())
    assert values(metrics, "process_resident_memory_bytes")[()] > 1e6
    ((_python, version),) = values(metrics, "plimsoll_build_info")
    assert version == __version__


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text",
        "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3",
        "text/plain, Application/OpenMetrics-Text; version=what",
    ],
)
def test_openmetrics_is_given_to_those_who_accept_it(accept: str) -> None:
    body, content_type = asyncio.run(everything(plane()).page(accept))
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    read = text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call]
    names = {family.name for family in read}
    assert names == set(families(everything(plane())))


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "text/plain;version=x", ",;,"])
def test_everybody_else_gets_the_text_format(accept: str) -> None:
    body, content_type = asyncio.run(everything(plane()).page(accept))
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert "plimsoll_pools" in parsed(body.decode())


def test_scrapes_and_decisions_are_counted() -> None:
    metrics = everything(plane())
    for ok in (True, True, False):
        metrics.scraped(ok)
    metrics.decision_took(0.5)
    assert values(metrics, "plimsoll_scrapes_total") == {("ok",): 2, ("failed",): 1}
    assert values(metrics, "plimsoll_decision_seconds_sum") == {(): 0.5}


def test_the_end_of_a_certificate_is_that_of_the_one_in_use() -> None:
    first, second = (CERTIFICATES.issue_cert("a.example", not_after=END + item) for item in DAYS)
    metrics, accepted = everything(plane()), list[Credentials]()
    shown = metrics.following("xds", credentials(first), accepted.append)
    ends = "plimsoll_certificate_expiry_timestamp_seconds"
    assert values(metrics, ends)["xds",] == (END + DAYS[0]).timestamp()
    shown(credentials(second))
    assert accepted == [credentials(second)]
    assert values(metrics, ends)["xds",] == (END + DAYS[1]).timestamp()


async def test_an_event_loop_that_was_kept_is_late() -> None:
    metrics = everything(plane())
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(metrics.watch_event_loop())
        await asyncio.sleep(0)
        time.sleep(0.8)  # noqa: ASYNC251 - the very fault that is measured
        while not values(metrics, "plimsoll_event_loop_lag_seconds_count")[()]:
            await asyncio.sleep(0.01)
        watching.cancel()
    assert values(metrics, "plimsoll_event_loop_lag_seconds_sum")[()] > 0.25
