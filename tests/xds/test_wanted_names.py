"""What a client wants of one type, as it asks for more and for less."""

import pytest

from controlplane.xds.errors import MAX_NAME_LENGTH, MAX_NAMES, ProtocolError
from controlplane.xds.subscription import WILDCARD, Interest


def test_names_and_the_wildcard_are_wanted_apart() -> None:
    interest = Interest()
    assert interest.add(["a", WILDCARD, "a"]) == {"a"}
    assert (interest.names, interest.wildcard) == ({"a"}, True)
    assert interest.drop([WILDCARD]) == set()
    assert (interest.names, interest.wildcard) == ({"a"}, False)


def test_a_wildcard_covers_every_name_and_names_only_themselves() -> None:
    interest = Interest(names={"a"})
    assert ("a" in interest, "b" in interest) == (True, False)
    interest.add([WILDCARD])
    interest.add(["a"])
    assert ("a" in interest, "b" in interest) == (True, True)


def test_of_the_names_that_are_dropped_only_those_that_were_asked_for_count() -> None:
    interest = Interest(wildcard=True, names={"a", "b"})
    assert interest.drop(["a", "unheard of"]) == {"a"}
    assert (interest.names, interest.wildcard) == ({"b"}, True)


def test_of_names_that_changed_those_that_are_wanted_are_looked_at() -> None:
    interest = Interest(names={"a", "b"})
    assert interest.within({"b", "c"}) == {"b"}
    interest.add([WILDCARD])
    assert interest.within({"b", "c"}) == {"b", "c"}


def test_names_are_wanted_whether_they_exist_or_not_and_by_the_wildcard_those_that_exist() -> None:
    interest = Interest(names={"not there"})
    assert interest.given(["a"]) == {"not there"}
    interest.add([WILDCARD])
    assert interest.given(["a"]) == {"not there", "a"}


@pytest.mark.parametrize("names", [["a"], [WILDCARD]])
def test_that_a_client_ever_named_something_is_remembered(names: list[str]) -> None:
    interest = Interest(wildcard=True)
    interest.add([])
    assert not interest.named
    interest.add(names)
    interest.drop(names)
    interest.add([])
    assert interest.named


def test_a_copy_goes_its_own_way() -> None:
    before = Interest(names={"a"})
    after = before.copy()
    assert after == before
    after.add(["b", WILDCARD])
    assert before == Interest(names={"a"})


def test_too_many_names_and_too_long_ones_are_refused_and_change_nothing() -> None:
    interest = Interest(names={str(number) for number in range(MAX_NAMES)})
    interest.add(["0"])
    with pytest.raises(ProtocolError, match="RESOURCE_EXHAUSTED"):
        interest.add(["one more"])
    assert len(interest.names) == MAX_NAMES
    with pytest.raises(ProtocolError, match="INVALID_ARGUMENT"):
        Interest().add(["x" * (MAX_NAME_LENGTH + 1)])
