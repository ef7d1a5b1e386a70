"""``plimsoll token``."""

import json

from click.testing import CliRunner, Result

from controlplane.cli.group import plimsoll
from controlplane.config import Role, parse_tokens
from controlplane.config.identity import holder


def made(*arguments: str) -> Result:
    return CliRunner().invoke(plimsoll, ["token", *arguments])


def test_the_line_lets_in_whoever_has_the_token() -> None:
    printed = json.loads(made("register", "gpu-7", "--json").stdout)
    token = holder(parse_tokens(printed["line"], "f"), printed["token"])
    assert token is not None
    assert (token.role, token.name) == (Role.REGISTER, "gpu-7")


def test_the_line_does_not_tell_the_token() -> None:
    token, line = made("read", "grafana").stdout.splitlines()
    assert token.removeprefix("token: ") not in line


def test_no_two_tokens_are_the_same() -> None:
    assert made("read", "a").stdout != made("read", "a").stdout


def test_a_name_that_cannot_stand_in_the_file_is_refused() -> None:
    refused = made("read", "a b")
    assert refused.exit_code == 2
    assert "NAME 'a b': must be" in refused.stderr or "NAME 'a b': the name" in refused.stderr
