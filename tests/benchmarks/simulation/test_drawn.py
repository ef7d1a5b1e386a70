"""Worlds are drawn by their number alone, and Plimsoll plays in them."""

from click.testing import CliRunner

from benchmarks.simulation.drawn import MOST, drawn, main


def test_a_number_always_draws_the_same_world_and_another_draws_another() -> None:
    assert drawn(7) == drawn(7)
    assert len({drawn(number).scenario.rate for number in range(1, 31)}) == 30


def test_worlds_differ_in_everything_and_are_played_in_seconds() -> None:
    worlds = [drawn(number) for number in range(1, 101)]
    assert len({type(each.scenario.world) for each in worlds}) == 5
    assert len({len(each.scenario.speeds) for each in worlds}) > 5
    assert len({each.dispatchers for each in worlds}) > 3
    jobs = [each for each in worlds if each.scenario.traffic.job is not None]
    assert jobs
    assert all(0.3 < each.scenario.load < 0.95 for each in worlds if each not in jobs)
    assert any(each.scenario.changes for each in worlds)
    assert max(each.scenario.rate for each in worlds) < 2 * MOST


def test_a_world_is_held_against_the_better_peer() -> None:
    found = CliRunner().invoke(main, ["--worlds", "1", "--first", "22", "--processes", "1"])
    assert found.exit_code == 0, found.output
    assert "search" in found.output
    assert "1 worlds" in found.output
