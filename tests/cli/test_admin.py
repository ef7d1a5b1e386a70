"""``plimsoll token`` and ``plimsoll openapi``: commands that need no control plane."""

import json
import socket
from pathlib import Path

from click.testing import CliRunner, Result

from controlplane.cli.group import plimsoll
from controlplane.config import Role, parse_tokens
from controlplane.config.identity import holder
from tests.api.served import served
from tests.cli.answering import run


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


async def test_the_document_of_this_version_is_the_one_that_it_serves() -> None:
    async with served() as api:
        expected = (await api.ask("GET", "/openapi.json")).body
        asked = await run(api, "openapi", "--json")
    unasked = CliRunner(env={"PLIMSOLL_URL": None}).invoke(plimsoll, ["openapi"])
    assert json.loads(asked.stdout) == expected
    assert (unasked.exit_code, json.loads(unasked.stdout)) == (0, expected)


def test_with_a_url_it_asks_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    assert CliRunner().invoke(plimsoll, ["openapi", "--url", url]).exit_code == 1
    assert CliRunner(env={"PLIMSOLL_URL": url}).invoke(plimsoll, ["openapi"]).exit_code == 1
