"""``plimsoll openapi``: of a server, and of this version without any."""

import json
import socket
from pathlib import Path

from click.testing import CliRunner

from controlplane.cli.group import plimsoll
from tests.api.served import served
from tests.cli.answering import run


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
