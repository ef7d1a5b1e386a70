"""What a client wants of one type, as it asks for more and for less."""

import pytest

from controlplane.xds import ProtocolError
from controlplane.xds.subscription import MAX_NAME_LENGTH, MAX_NAMES, WILDCARD, WantedNames


def test_names_and_the_wildcard_are_wanted_apart() -> None:
    wanted_names = WantedNames()
    assert wanted_names.add(["a", WILDCARD, "a"]) == {"a"}
    assert (wanted_names.names, wanted_names.wildcard) == ({"a"}, True)
    assert wanted_names.drop([WILDCARD]) == set()
    assert (wanted_names.names, wanted_names.wildcard) == ({"a"}, False)


def test_a_wildcard_covers_every_name_and_names_only_themselves() -> None:
    wanted_names = WantedNames(names={"a"})
    assert ("a" in wanted_names, "b" in wanted_names) == (True, False)
    wanted_names.add([WILDCARD])
    wanted_names.add(["a"])
    assert ("a" in wanted_names, "b" in wanted_names) == (True, True)


def test_of_the_names_that_are_dropped_only_those_that_were_asked_for_count() -> None:
    wanted_names = WantedNames(wildcard=True, names={"a", "b"})
    assert wanted_names.drop(["a", "unheard of"]) == {"a"}
    assert (wanted_names.names, wanted_names.wildcard) == ({"b"}, True)


def test_of_names_that_changed_those_that_are_wanted_are_looked_at() -> None:
    wanted_names = WantedNames(names={"a", "b"})
    assert wanted_names.within({"b", "c"}) == {"b"}
    wanted_names.add([WILDCARD])
    assert wanted_names.within({"b", "c"}) == {"b", "c"}


def test_names_are_wanted_whether_they_exist_or_not_and_by_the_wildcard_those_that_exist() -> None:
    wanted_names = WantedNames(names={"not there"})
    assert wanted_names.given(lambda: ["a"]) == {"not there"}
    wanted_names.add([WILDCARD])
    assert wanted_names.given(lambda: ["a"]) == {"not there", "a"}


@pytest.mark.parametrize("names", [["a"], [WILDCARD]])
def test_that_a_client_ever_named_something_is_remembered(names: list[str]) -> None:
    wanted_names = WantedNames(wildcard=True)
    wanted_names.add([])
    assert not wanted_names.named
    wanted_names.add(names)
    wanted_names.drop(names)
    wanted_names.add([])
    assert wanted_names.named


def test_a_copy_goes_its_own_way() -> None:
    before = WantedNames(names={"a"})
    after = before.copy()
    assert after == before
    after.add(["b", WILDCARD])
    assert before == WantedNames(names={"a"})


def test_too_many_names_and_too_long_ones_are_refused_and_change_nothing() -> None:
    wanted_names = WantedNames(names={str(number) for number in range(MAX_NAMES)})
    wanted_names.add(["0"])
    with pytest.raises(ProtocolError, match="RESOURCE_EXHAUSTED"):
        wanted_names.add(["one more"])
    assert len(wanted_names.names) == MAX_NAMES
    with pytest.raises(ProtocolError, match="INVALID_ARGUMENT"):
        WantedNames().add(["x" * (MAX_NAME_LENGTH + 1)])
