"""The tools are loaded by their own commands only."""

import subprocess
import sys

import pytest

from controlplane.cli.group import COMMANDS, TOOLS

LOADED = """
import sys
from click.testing import CliRunner
from controlplane.cli.group import plimsoll
assert CliRunner().invoke(plimsoll, [sys.argv[1], "--help"]).exit_code == 0
print(any(name.startswith("controlplane.tools") for name in sys.modules))
"""


@pytest.mark.parametrize("name", ["serve", "check", *TOOLS])
def test_only_a_tool_loads_the_tools(name: str) -> None:
    command = [sys.executable, "-c", LOADED, name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(name in TOOLS)


def test_every_tool_is_a_command() -> None:
    assert set(TOOLS) <= set(COMMANDS)
