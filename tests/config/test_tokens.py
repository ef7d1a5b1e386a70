"""The token file: one token, or a line for each with its role and its hash."""

from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.config import Role, SettingsError, Token, parse_tokens
from controlplane.config.identity import holder

PLAIN = "s3cret-s3cret-s3cret"
HASH = sha256(PLAIN.encode()).hexdigest()
OTHER = sha256(b"another").hexdigest()


def test_a_file_with_one_token_lets_it_do_everything() -> None:
    (token,) = parse_tokens(f"{PLAIN}\n", "f")
    assert token.role is Role.OPERATE
    assert holder((token,), PLAIN) is token


def test_a_token_is_not_kept_only_its_hash() -> None:
    (token,) = parse_tokens(PLAIN, "f")
    assert PLAIN not in repr(token)
    assert token.digest.hex() == HASH


def test_each_line_has_its_role_and_its_name() -> None:
    tokens = parse_tokens(f"# ours\n\nread {OTHER} grafana\nregister {HASH}\n", "f")
    assert [(token.role, token.name) for token in tokens] == [
        (Role.READ, "grafana"),
        (Role.REGISTER, HASH[:8]),
    ]
    found = holder(tokens, PLAIN)
    assert found is not None
    assert found.role is Role.REGISTER
    assert holder(tokens, "another-one") is None


def test_the_hash_in_the_file_does_not_let_in() -> None:
    assert holder(parse_tokens(f"operate {HASH} x", "f"), HASH) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must hold one token of at least 16 ASCII characters"),
        ("# nothing\n", "must hold one token"),
        ("short", "must hold one token"),
        ("é" * 20, "must hold one token"),
        (f"admin {HASH}", 'f:1: must be "role sha256 [name]" with the role read, register'),
        (f"read {HASH} a b", 'f:1: must be "role sha256 [name]"'),
        (f"{PLAIN}\n{PLAIN}x", "f:1: must be"),
        ("read 12ab x", "f:1: the second word must be the SHA-256"),
        (f"read {HASH.upper()} x", "f:1: the second word must be the SHA-256"),
        (f"read {HASH} a\n\nread {OTHER} -b", "f:3: the name must be"),
        (f"read {HASH} a\noperate {HASH} b", "f:2: is a token that is above already"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_tokens(text, "f")
    assert says in str(caught.value)


@pytest.mark.parametrize("text", [f"{PLAIN} {PLAIN}", f"{PLAIN}\n{PLAIN}", "short-one", "read x"])
def test_no_message_repeats_what_the_file_holds(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_tokens(text, "f")
    for word in text.split():
        assert word == "read" or word not in str(caught.value)


@given(st.text())
def test_whatever_the_file_it_is_read_or_refused(text: str) -> None:
    with suppress(SettingsError):
        assert parse_tokens(text, "f")


def test_a_line_that_is_printed_is_read_back() -> None:
    token = Token.of(PLAIN, Role.REGISTER, "gpu-7")
    assert parse_tokens(token.line, "f") == (token,)


def test_a_role_may_do_what_those_before_it_may() -> None:
    allowed = {role: [other for other in Role if role.includes(other)] for role in Role}
    assert allowed == {
        Role.READ: [Role.READ],
        Role.REGISTER: [Role.READ, Role.REGISTER],
        Role.OPERATE: [Role.READ, Role.REGISTER, Role.OPERATE],
    }
