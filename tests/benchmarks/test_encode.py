"""The benchmark of encoding: it compares equals, and shows every repetition."""

import pytest

from benchmarks.xds import encode
from benchmarks.xds.encode import Figures, Repetition, run, table

FIGURES = Figures(
    endpoints=1000,
    size=41_000,
    repetitions=(Repetition(2.0, 100.0, 10.0), Repetition(4.0, 240.0, 40.0)),
)


def test_every_repetition_is_in_the_figures() -> None:
    figures = run(endpoints=4, repetitions=3)
    assert (figures.endpoints, len(figures.repetitions)) == (4, 3)


def test_the_ratio_is_to_encoding_alone() -> None:
    assert FIGURES.ratios == (50.0, 60.0)


def test_the_ratio_to_building_and_encoding_is_given_beside_it() -> None:
    assert FIGURES.ratios_with_building == (55.0, 70.0)


def test_the_table_shows_medians_and_ranges() -> None:
    shown = table(FIGURES)
    assert "median 3.00  (2.00 to 4.00)" in shown
    assert "median 55  (50 to 60)" in shown


def test_other_bytes_than_betterproto2s_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "OVERPROVISIONING_PERCENT", 140)
    with pytest.raises(RuntimeError, match="nothing to compare"):
        run(endpoints=4, repetitions=1)
