"""Balancing policies, and what those that hash are told to hash."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.config import BalancingSettings, Policy, SettingsError, validated

POLICIES: tuple[Policy, ...] = get_args(Policy)
HASHING = ("ring-hash", "maglev")
HASHES: tuple[dict[str, Any], ...] = (
    {"header": "x-user"},
    {"cookie": "session"},
    {"cookie": "session", "ttl": "1h"},
    {"source_address": True},
)


def refused(**body: Any) -> str:
    with pytest.raises(SettingsError) as error:
        validated(BalancingSettings, body)
    return str(error.value)


def test_capacity_tiers_are_the_default() -> None:
    assert BalancingSettings().policy == "capacity-tiers"


@given(st.sampled_from(POLICIES), st.sampled_from([None, *HASHES]))
def test_something_to_hash_on_is_given_to_the_policies_that_hash_and_to_no_other(
    policy: str, hashed: dict[str, Any] | None
) -> None:
    body = {"policy": policy, "hash": hashed}
    if (policy in HASHING) == (hashed is not None):
        settings = validated(BalancingSettings, body)
        assert validated(BalancingSettings, settings.model_dump()) == settings
    else:
        assert refused(**body).startswith("hash: ")


@pytest.mark.parametrize("policy", HASHING)
def test_a_policy_that_hashes_needs_to_know_what(policy: str) -> None:
    assert refused(policy=policy) == (
        f"hash: is missing: policy {policy} needs to know what to hash on, as in {{header: x-user}}"
    )


def test_a_policy_that_does_not_hash_says_which_do() -> None:
    assert refused(policy="round-robin", hash={"header": "x"}) == (
        "hash: has no effect with policy round-robin: leave it out, or choose ring-hash or maglev"
    )


@pytest.mark.parametrize(
    ("hashed", "sentence"),
    [
        ({}, "hash: must say one thing to hash on: {header: NAME}, {cookie: NAME} or"),
        ({"header": "a", "cookie": "b"}, "hash: must say one thing to hash on"),
        ({"cookie": "b", "source_address": True}, "hash: must say one thing to hash on"),
        ({"source_address": False}, "hash: must say one thing to hash on"),
        ({"header": "a", "ttl": "1h"}, "hash.ttl: is the lifetime of a cookie: leave it out"),
        ({"cookie": "a", "ttl": "1500ms"}, "hash.ttl: must be whole seconds"),
        ({"cookie": "a", "ttl": "10ms"}, "hash.ttl: must be whole seconds"),
        ({"header": "a b"}, "hash.header: 'a b' must match"),
        ({"header": ""}, "hash.header: '' must match"),
        ({"header": "x\n"}, "hash.header: 'x\\n' must match"),
        ({"header": ":path"}, "hash.header: ':path' must match"),
        ({"cookie": "a=b"}, "hash.cookie: 'a=b' must match"),
        ({"header": 1}, "hash.header: must be text, not 1"),
        ({"heade": "x"}, "hash.heade: unknown key; did you mean 'header'?"),
        ("x-user", "hash: must be a mapping of keys to values, not 'x-user'"),
    ],
)
def test_what_cannot_be_hashed_on_is_refused(hashed: object, sentence: str) -> None:
    assert refused(policy="maglev", hash=hashed).startswith(sentence)
