"""The page of the command line names every command, and the client's page every method."""

import inspect
import re
from pathlib import Path

from controlplane.cli.group import COMMANDS
from controlplane.client import Client, ClientError
from controlplane.client import errors as kinds

ROOT = Path(__file__).parents[2]


def test_the_page_of_the_command_line_names_every_command() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text()
    assert set(re.findall(r"^\| `plimsoll ([a-z]+)", text, re.MULTILINE)) == set(COMMANDS)


def test_the_page_of_the_client_names_every_method_and_every_error() -> None:
    text = (ROOT / "docs" / "client.md").read_text()
    methods = {name for name, _ in inspect.getmembers(Client, inspect.isfunction)}
    errors = {
        name
        for name, item in inspect.getmembers(kinds, inspect.isclass)
        if issubclass(item, ClientError)
    }
    named = set(re.findall(r"`([A-Za-z_]+)`", text))
    assert {name for name in methods if not name.startswith("_")} <= named
    assert errors <= named
