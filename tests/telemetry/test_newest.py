"""A cache keeps what was used last, as far as there is room."""

from controlplane.telemetry.layouts import Newest


def kept(cache: Newest[str, int], among: str = "abcd") -> str:
    return "".join(item for item in among if item in cache)


def test_what_was_used_last_stays() -> None:
    cache: Newest[str, int] = Newest(most=2, room=100)
    cache.put("a", 1, 1)
    cache.put("b", 2, 1)
    assert cache.get("a") == 1
    cache.put("c", 3, 1)
    assert kept(cache) == "ac"
    assert cache.get("b") is None


def test_sizes_count_and_not_only_numbers() -> None:
    cache: Newest[str, int] = Newest(most=100, room=10)
    for name in "abc":
        cache.put(name, 0, 4)
    assert kept(cache) == "bc"
    cache.put("d", 0, 8)
    assert kept(cache) == "d"


def test_what_takes_the_place_of_another_takes_its_room() -> None:
    cache: Newest[str, int] = Newest(most=100, room=10)
    for size in (8, 1, 8, 2):
        cache.put("a", size, size)
    cache.put("b", 0, 8)
    assert (kept(cache), cache.get("a")) == ("ab", 2)


def test_the_newest_is_kept_even_where_it_is_too_large() -> None:
    cache: Newest[str, int] = Newest(most=100, room=10)
    cache.put("a", 0, 1)
    cache.put("b", 0, 100)
    assert kept(cache) == "b"
    cache.put("c", 0, 1)
    assert kept(cache) == "c"


def test_what_was_cleared_takes_no_room() -> None:
    cache: Newest[str, int] = Newest(most=100, room=10)
    cache.put("a", 0, 9)
    cache.clear()
    cache.put("b", 0, 5)
    cache.put("c", 0, 5)
    assert kept(cache) == "bc"
