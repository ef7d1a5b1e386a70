"""Plain data, as a REST body holds it, into settings or one sentence."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from controlplane.config import (
    Config,
    PoolSettings,
    ReplicaSettings,
    SettingsError,
    errors,
    validated,
)
from tests.config.files import HUGE, sentence

REPLICA = {"address": "127.0.0.1:9001"}
POOL = {"model": "m", "listener": {"address": "127.0.0.1:10000"}}


def refused(
    model: type[PoolSettings] | type[ReplicaSettings], body: dict[Any, Any]
) -> SettingsError:
    base: dict[Any, Any] = REPLICA if model is ReplicaSettings else POOL
    with pytest.raises(SettingsError) as error:
        validated(model, {**base, **body})
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300
    return error.value


def test_a_whole_replica_is_read() -> None:
    body = {
        "address": "10.0.0.1:80",
        "ingress": "10.0.0.1:443",
        "slots": 2,
        "locality": {"region": "eu", "zone": "a"},
        "labels": {"gpu.model": "L4"},
        "gpu": {"uuid": "GPU-1"},
        "memory": {"soft": 0.95, "hard": 0.99},
        "ttl": "30s",
        "instance": "pod-7f",
    }
    assert validated(ReplicaSettings, body).model_dump() == body


@pytest.mark.parametrize(
    "slots", [True, 1.0, "1", float("nan"), float("inf"), 0, -1, 4097, 10**30, HUGE, [1]]
)
def test_slots_that_are_no_small_whole_number_are_refused(slots: object) -> None:
    assert refused(ReplicaSettings, {"slots": slots}).path == ("slots",)


@pytest.mark.parametrize(
    "soft", [True, "0.5", None, float("nan"), float("inf"), -float("inf"), 0, 1, 10**400, HUGE]
)
def test_a_memory_limit_that_is_no_fraction_is_refused(soft: object) -> None:
    assert refused(PoolSettings, {"memory": {"soft": soft}}).path == ("memory", "soft")


@pytest.mark.parametrize("address", [None, True, 9001, HUGE, "", [], {}, "http://a:1", "a:1"])
def test_an_address_that_is_none_is_refused(address: object) -> None:
    assert refused(ReplicaSettings, {"address": address}).path == ("address",)


@pytest.mark.parametrize("ttl", [30, True, "30", "", "1e999s", HUGE, float("nan"), "\ud800"])
def test_a_lease_that_is_no_duration_is_refused(ttl: object) -> None:
    assert refused(ReplicaSettings, {"ttl": ttl}).path == ("ttl",)


@pytest.mark.parametrize(
    "text", ["", "a b", "a\x00", "a\n", "\ud800", "é", "../a", "a" * 64, 1, True]
)
def test_a_gpu_that_is_no_plain_identifier_is_refused(text: object) -> None:
    assert refused(ReplicaSettings, {"gpu": {"uuid": text}}).path == ("gpu", "uuid")


@pytest.mark.parametrize("value", ["a" * 129, "a b", "a\x00", "a\n", "\ud800", 1, True, None, []])
def test_a_label_that_is_no_short_plain_text_is_refused(value: object) -> None:
    assert refused(ReplicaSettings, {"labels": {"a": value}}).path == ("labels", "a")


@pytest.mark.parametrize("key", ["", "a b", "a\x00", "[key]x", "a" * 64, "\n"])
def test_a_label_whose_key_is_no_plain_word_is_refused_by_that_key(key: str) -> None:
    assert refused(ReplicaSettings, {"labels": {key: "a"}}).path == ("labels", key)


@pytest.mark.parametrize("key", [1, None, True, b"a", ("a",), HUGE, 1.5, "\ud800"])
def test_a_labels_key_that_is_no_text_is_refused(key: object) -> None:
    assert refused(ReplicaSettings, {"labels": {key: "a"}}).path[0] == "labels"


def test_33_labels_are_refused() -> None:
    assert refused(ReplicaSettings, {"labels": {f"l{i}": "" for i in range(33)}}).path == (
        "labels",
    )


@pytest.mark.parametrize("key", [1, None, True, b"a", ("a",), HUGE, 1.5, "\ud800"])
def test_a_key_that_is_no_text_is_refused(key: object) -> None:
    assert "text" in str(refused(ReplicaSettings, {key: 1}))


@pytest.mark.parametrize("key", ["id", "[key]", "", "a\nb", "x" * 100_000])
def test_an_unknown_key_is_refused_by_its_name(key: str) -> None:
    assert refused(ReplicaSettings, {key: 1}).path == (key,)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^address: is required and missing$"):
        validated(ReplicaSettings, {})


def test_a_misspelt_key_is_told_before_the_key_that_is_missing_for_it() -> None:
    with pytest.raises(SettingsError, match=r"^adress: unknown key; did you mean 'address'\?$"):
        validated(ReplicaSettings, {"adress": "127.0.0.1:1"})


@pytest.mark.parametrize("body", [[], None, "a", 1, True])
def test_a_body_that_is_no_mapping_is_refused(body: Any) -> None:
    with pytest.raises(SettingsError, match="must be a mapping"):
        validated(ReplicaSettings, body)


@pytest.mark.parametrize(
    "model", ["", " ", "a b", "a\n", "é", "m" * 257, "\ud800", "\x00", 1, None]
)
def test_a_model_that_is_no_plain_name_is_refused(model: object) -> None:
    assert refused(PoolSettings, {"model": model}).path == ("model",)


@pytest.mark.parametrize(
    "address",
    [
        *("localhost:80", "127.0.0.1:0", "0.0.0.0", ":80", "224.0.0.1:80", "239.255.255.250:80"),
        *("255.255.255.255:80", "[ff02::1]:80", "[::ffff:224.0.0.1]:80"),
    ],
)
def test_a_listener_that_envoy_would_not_take_is_refused(address: str) -> None:
    error = refused(PoolSettings, {"listener": {"address": address}})
    assert error.path == ("listener", "address")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.sampled_from([10**70, "127.0.0.1:1", "1s", "[key]"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec=None)) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*ReplicaSettings.model_fields, "[key]", ""]), JSON))
def test_whatever_the_body_a_replica_is_read_or_refused(body: dict[str, Any]) -> None:
    assert sentence(lambda: validated(ReplicaSettings, {**REPLICA, **body})).isprintable()


@given(st.dictionaries(st.sampled_from([*PoolSettings.model_fields, "[key]", ""]), JSON))
def test_whatever_the_body_a_pool_is_read_or_refused(body: dict[str, Any]) -> None:
    assert sentence(lambda: validated(PoolSettings, {**POOL, **body})).isprintable()


ODD: tuple[object, ...] = (
    *(None, True, 0, -1, 1, 10**20, 10**70, 1.5, float("inf"), float("nan"), "", "x", "x" * 5000),
    *("\ud800", "9" * 20, [], [1], [None], [{}], ["127.0.0.1:1"] * 300, {}, {"a": 1}, {1: 2}),
    {f"k{index}": "v" for index in range(2000)},
)


def below(model: type[BaseModel]) -> set[type[BaseModel]]:
    """A model and all models of its fields."""
    found = {model}
    for field in model.model_fields.values():
        for inner in errors._models_in(field.annotation):
            found |= below(inner)
    return found


@pytest.mark.parametrize("model", sorted(below(Config) | below(PoolSettings), key=str))
def test_every_error_has_a_sentence_of_ours(model: type[BaseModel]) -> None:
    for name in model.model_fields:
        for value in ODD:
            try:
                model.model_validate({name: value})
            except ValidationError as error:
                kinds = {detail["type"] for detail in error.errors()} - {"extra_forbidden"}
                assert kinds <= errors._SENTENCES.keys(), (name, str(value)[:60])


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"slots": 10**19}, "slots: must be at most 4096, not 10000000000000000000"),
        ({"slots": 0}, "slots: must be at least 1, not 0"),
        ({"labels": dict.fromkeys("abcdefghijklmnopqrstuvwxyz0123456789", "")}, "labels: must have"
            " at most 32 entries, not 36"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_shown_with_the_range(body: dict[str, Any], sentence: str) -> None:
    assert str(refused(ReplicaSettings, body)) == sentence
