"""The audit log alone: numbers, pages, its bound, and what of it is still to be written."""

import pytest

from controlplane.fleet import AuditEntry, AuditLog, Change, Drain, apply
from tests.fleet.fleets import a_pool


def noted(*names: str, who: str = "x") -> list[tuple[str, Change]]:
    """Pools that went, as nobody looks at them here."""
    return [(who, Change(name, None, None, None)) for name in names]


def filled(count: int, most: int = 3) -> AuditLog:
    log = AuditLog(most=most)
    for number in range(count):
        log.add(log.drafted(noted(f"p{number}"), float(number)))
    return log


def numbers(entries: object) -> list[int]:
    assert isinstance(entries, list)
    return [entry.number for entry in entries]


def test_an_entry_says_who_what_when_from_what_to_what() -> None:
    before = a_pool(a=1)
    (found,) = apply(before, Drain("p", "a"), 0.0).changes
    (entry,) = AuditLog().drafted([("gpu-7", found)], 0.25)
    data = entry.data()
    told = data.pop("before"), data.pop("after")
    assert data == {
        "number": 1,
        "at": "1970-01-01T00:00:00.250+00:00",
        "who": "gpu-7",
        "change": "changed",
        "pool": "p",
        "replica": "a",
    }
    assert [item["draining"] for item in told] == [None, "operator"]


def test_the_oldest_entries_make_room() -> None:
    page, older = filled(5).page(10, None)
    assert (numbers(page), older) == ([5, 4, 3], None)


@pytest.mark.parametrize(
    ("limit", "before", "shown", "older"),
    [
        (2, None, [3, 2], 2),
        (3, None, [3, 2, 1], None),
        (2, 3, [2, 1], None),
        (1, 3, [2], 2),
        (5, 1, [], None),
    ],
)
def test_a_page_says_whether_there_are_older_ones(
    limit: int, before: int | None, shown: list[int], older: int | None
) -> None:
    page, found = filled(3).page(limit, before)
    assert (numbers(page), found) == (shown, older)


def test_a_draft_is_no_entry_until_it_is_added() -> None:
    log = filled(1)
    drafts = log.drafted(noted("p", "q"), 9.0)
    assert (log.newest, numbers(drafts)) == (1, [2, 3])
    log.add(drafts)
    assert log.newest == 3


def test_what_was_read_is_on_disk_and_numbers_go_on_from_it() -> None:
    log = AuditLog([AuditEntry(41, 0.0, "{}"), AuditEntry(42, 0.0, "{}")])
    assert log.is_written
    assert (log.unwritten().after, log.unwritten().entries) == (42, [])
    assert numbers(log.drafted(noted("p"), 1.0)) == [43]


def test_what_is_not_on_disk_is_written_with_the_drafts_after_it() -> None:
    log = filled(2)
    log.note_written(log.unwritten())
    assert log.is_written
    log.add(log.drafted(noted("p"), 5.0))
    assert not log.is_written
    unwritten = log.unwritten(log.drafted(noted("q"), 6.0))
    assert (unwritten.after, numbers(unwritten.entries), unwritten.most) == (2, [3, 4], 3)


def test_no_more_is_written_than_is_kept() -> None:
    log = filled(7)
    assert numbers(log.unwritten(log.drafted(noted("p"), 8.0)).entries) == [6, 7, 8]


def test_an_entry_that_is_another_one_than_was_written_is_written_again() -> None:
    log = filled(1)
    log.note_written(log.unwritten())
    written = log.unwritten(log.drafted(noted("p", "q"), 5.0))
    log.add(log.drafted(noted("p"), 5.0))
    log.add(log.drafted(noted("r"), 5.0))
    log.note_written(written)
    assert (log.unwritten().after, numbers(log.unwritten().entries)) == (2, [3])
