"""What the reader of YAML takes, and where it says that something is wrong."""

import pytest

from controlplane.config.document import MAX_CHARACTERS, MAX_DEPTH, read_document
from tests.config.files import refusal


def value(text: str) -> object:
    return read_document(f"key: {text}", "f").data["key"]


@pytest.mark.parametrize("text", ["NO", "yes", "on", "True", "010", "1:30", "0x10", "1_000", "+1"])
def test_what_yaml_1_1_would_turn_into_something_else_stays_text(text: str) -> None:
    assert value(text) == text


@pytest.mark.parametrize("text", [".inf", ".nan", "NaN", "Infinity", "2026-01-01", "1.", ".5"])
def test_what_is_no_number_in_json_stays_text(text: str) -> None:
    assert value(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ("null", None), ("", None), ("-1", -1), ("0", 0), ("1.5", 1.5), ("2e3", 2e3)],
)
def test_a_plain_scalar_is_what_it_would_be_in_json(text: str, expected: object) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


@pytest.mark.parametrize("text", ["'1'", '"true"', '"null"', "''"])
def test_quotes_make_text(text: str) -> None:
    assert value(text) == text[1:-1]


def test_a_number_of_5000_digits_stays_text() -> None:
    assert value("9" * 5000) == "9" * 5000


def test_keys_are_text() -> None:
    assert read_document("{1: a, null: b, true: c}", "f").data == {
        "1": "a",
        "null": "b",
        "true": "c",
    }


def test_an_empty_file_holds_nothing() -> None:
    assert read_document("# nothing\n", "f").data is None


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert read_document("\ufeffkey: 1\n", "f").data == {"key": 1}


def test_windows_line_ends_are_no_part_of_values() -> None:
    assert read_document("a: x\r\nb: y\r\n", "f").data == {"a": "x", "b": "y"}


def test_the_line_of_a_value_is_that_of_its_key() -> None:
    assert read_document("a:\n  b:\n    1\n", "f").line(("a", "b")) == 2


def test_the_line_of_a_list_item_is_its_own() -> None:
    assert read_document("a:\n- 1\n- 2\n", "f").line(("a", 1)) == 3


def test_what_is_not_in_the_file_has_the_line_of_what_would_hold_it() -> None:
    assert read_document("\na:\n  b: 1\n", "f").line(("a", "c", 0, "d")) == 2


def test_windows_line_ends_are_counted_once() -> None:
    assert read_document("a: 1\r\nb: 2\r\nc: 3", "f").line(("c",)) == 3


def test_a_line_separator_in_text_does_not_shift_the_lines_that_an_editor_shows() -> None:
    assert read_document('a: "\u2028"\nb: 1', "f").line(("b",)) == 2


def test_a_duplicate_key_names_both_lines() -> None:
    assert refusal("admin: {}\n\nadmin: {}") == (
        "plimsoll.yaml:3: key 'admin' is already on line 1; keep one of them"
    )


def test_a_duplicate_key_is_one_in_quotes_too() -> None:
    assert "key 'store' is already on line 1" in refusal("store: {}\n'store': {}")


def test_a_duplicate_key_deep_down_names_the_mapping_it_is_in() -> None:
    assert refusal("pools:\n  - name: a\n    name: b\n") == (
        "plimsoll.yaml:3: pools[0]: key 'name' is already on line 2; keep one of them"
    )


def test_the_same_key_in_two_list_items_is_no_duplicate() -> None:
    assert read_document("- a: 1\n- a: 2\n", "f").data == [{"a": 1}, {"a": 2}]


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    assert refusal(bomb) == "plimsoll.yaml:1: anchor 'a' is not supported; write the value out"


def test_a_reference_to_itself_is_refused() -> None:
    assert "anchor 'a' is not supported" in refusal("store: &a {path: *a}")


def test_an_alias_is_refused_with_its_line() -> None:
    assert refusal("store:\n  path: *a") == (
        "plimsoll.yaml:2: alias 'a' is not supported; write the value out"
    )


def test_a_merge_key_is_refused() -> None:
    assert refusal("store:\n  <<: {path: x}") == (
        "plimsoll.yaml:2: store: merge key << is not supported; write the keys out"
    )


def test_a_tag_is_refused() -> None:
    assert refusal("store:\n  path: !!python/object:os.system x").startswith("plimsoll.yaml:2: tag")


def test_a_second_document_is_refused_where_it_starts() -> None:
    assert refusal("admin: {}\n---\nxds: {}\n") == (
        "plimsoll.yaml:2: a second document starts here; one file holds one"
    )


def test_a_list_as_a_key_is_refused() -> None:
    assert refusal("store:\n  [a]: 1\n") == "plimsoll.yaml:2: store: a key must be plain text"


def test_as_many_levels_as_allowed_are_read() -> None:
    assert read_document("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f").data


def test_one_level_more_is_refused() -> None:
    assert refusal("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)) == (
        f"plimsoll.yaml:1: is nested deeper than {MAX_DEPTH} levels"
    )


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_100_000_levels_are_refused_without_exhausting_the_stack(opening: str) -> None:
    assert refusal(opening * 100_000).startswith("plimsoll.yaml:1: ")


def test_a_tab_is_refused_with_what_to_write_instead() -> None:
    assert refusal("admin:\n\taddress: x\n").startswith("plimsoll.yaml:2: is not YAML: ")
    assert refusal("admin:\n\taddress: x\n").endswith("; indent with spaces")


def test_a_control_character_is_refused_with_its_line() -> None:
    assert refusal("admin: {}\nxds: {}\n\nstore: {path: a\x00b}\n") == (
        "plimsoll.yaml:4: is not YAML: character '\\x00' is not allowed in a text file; take it out"
    )


def test_a_lone_surrogate_is_refused_with_its_line() -> None:
    assert refusal("admin: {}\nstore: {path: \ud800}\n").startswith("plimsoll.yaml:2: ")


@pytest.mark.parametrize("text", ['store: {path: "\\ud800"}', '"\\udfff": 1'])
def test_an_escaped_lone_surrogate_is_refused_with_its_line(text: str) -> None:
    sentence = refusal(f"admin: {{}}\n{text}\n")
    assert sentence.startswith("plimsoll.yaml:2: ")
    assert sentence.endswith("has half of a character; write it in full")


@pytest.mark.parametrize("escape", ["\\U00110000", "\\UFFFFFFFF"])
def test_an_escape_beyond_unicode_is_refused_with_its_line(escape: str) -> None:
    assert refusal(f'admin: {{}}\nstore: {{path: "{escape}"}}\n') == (
        "plimsoll.yaml:2: is not YAML: the number in an escape or a directive is too large;"
        " write a smaller one"
    )


def test_a_yaml_version_of_5000_digits_is_refused() -> None:
    assert "is too large" in refusal("%YAML " + "1" * 5000 + ".1\n---\nadmin: {}\n")


def test_a_file_that_is_too_long_is_refused_unread() -> None:
    assert refusal("#" * (MAX_CHARACTERS + 1)) == (
        f"plimsoll.yaml: is longer than {MAX_CHARACTERS} characters"
    )


def test_a_bracket_that_is_not_closed_names_the_line_where_the_file_ends() -> None:
    assert refusal("store: {path: x\nadmin: {}\n").startswith("plimsoll.yaml:2: is not YAML: ")
