"""The benchmark's own parts: expositions that servers could have, and what is said of figures."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.scrape import report
from benchmarks.scrape.fleet import Asked
from benchmarks.scrape.pages import SERVERS, Page
from benchmarks.scrape.report import Round
from benchmarks.scrape.served import Period, value_of
from controlplane.telemetry import PROFILES, History, read


@pytest.mark.parametrize("server", SERVERS)
def test_a_page_is_as_long_as_that_of_a_real_server_and_can_be_read_whole(server: str) -> None:
    text = Page(server, seed=1, rate=10.0).after(1.0).decode()
    assert 20_000 < len(text) < 64_000
    families = [*text_string_to_metric_families(text)]
    assert (
        len([family for family in families if family.type == "histogram"])
        >= len(SERVERS[server].shapes) / 2
    )


@pytest.mark.parametrize("server", SERVERS)
def test_the_values_of_a_page_move_as_those_of_one_process_do(server: str) -> None:
    page, history = Page(server, seed=1, rate=10.0), History()
    for second in range(20):
        window = history.add(read(page.after(1.0).decode(), PROFILES[server], float(second)))
    assert history.generation == 0
    assert window.rate == pytest.approx(10.0, rel=0.1)
    assert window.latency == pytest.approx(0.05, rel=0.5)


def test_the_gap_that_a_part_of_all_gaps_does_not_exceed() -> None:
    asked = Asked(scrapes=5, bytes=0, gaps={1000: 3, 990: 1, 1500: 1})
    assert [asked.gap(part) for part in (0.2, 0.5, 0.8, 1)] == [990, 1000, 1000, 1500]


def test_a_series_that_is_not_there_is_nought() -> None:
    text = 'a_total{result="ok"} 3.0\na_total{result="failed"} 2.5\n'
    assert value_of(text, 'a_total{result="failed"}') == 2.5
    assert value_of(text, "a_total") == 0.0


def period(
    cpu: float, peak: float, scrapes: int = 60_000, *, failed: int = 0, others: float = 0.0
) -> Period:
    return Period(
        seconds=60.0,
        cpu=cpu * 60,
        rss=int(peak),
        peak=int(peak),
        asked=Asked(scrapes, 0, {1000: scrapes}),
        failed=failed,
        decisions=200,
        deciding=6.0,
        answers=[1.0],
        cores={"others": others},
    )


def said(*rounds: tuple[Period, Period]) -> str:
    alone = {"cpu": 2.0, "seconds": 10.0, "p50": 0.3, "p99": 0.6}
    return report.table([Round(*each, alone, 0.015, 0.0001) for each in rounds], 1000, 12)


def test_what_is_wanted_is_met_when_every_repetition_meets_it() -> None:
    good, bad = period(0.5, 140e6), period(0.7, 160e6, 50_000)
    assert said((good, good)).count(": met") == 4
    text = said((good, good), (good, bad))
    assert text.count(": met") == 1
    assert text.count(": missed") == 3
    assert "Disturbed" not in text


@pytest.mark.parametrize("which", [0, 1], ids=["without Envoys", "with Envoys"])
def test_a_scrape_that_failed_or_a_machine_with_other_work_is_said(which: int) -> None:
    good = period(0.5, 140e6)
    failing, disturbed = period(0.5, 140e6, failed=1), period(0.5, 140e6, others=0.2)
    for other, words in ((failing, "| 0: missed |"), (disturbed, "Disturbed by others.")):
        assert words not in said((good, good))
        assert words in said((good, good), (good, other) if which else (other, good))


def test_the_cpu_is_put_down_to_its_parts_and_nothing_counts_twice() -> None:
    lines = said((period(0.5, 140e6), period(0.75, 140e6))).splitlines()
    parts = dict(
        line.strip("| ").split(" | ")
        for line in lines
        if "(" in line and line[0] == "|" and line.count("|") == 3
    )
    # Scraping alone takes 0.2, deciding 6 s of 60; parsing is a part of scraping.
    assert {name: found.split()[0] for name, found in parts.items()} == {
        "parsing the same by prometheus_client alone": "15",
        "parsing it as we do": "0.1",
        "scraping alone, parsing included": "0.2",
        "deciding, weighing and building": "0.1",
        "all else without Envoys: windows, REST, waking": "0.2",
        "pushing to the streams": "0.25",
    }
    assert any(line.startswith("| one takes, ms | 30 (30–30) |") for line in lines)
