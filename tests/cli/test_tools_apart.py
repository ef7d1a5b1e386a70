"""The tools are loaded by their own commands only."""

import subprocess
import sys

from controlplane.cli.group import COMMANDS, TOOLS

LOADED = """
import sys
from click.testing import CliRunner
from controlplane.cli.group import plimsoll
for name in sys.argv[1:]:
    assert CliRunner().invoke(plimsoll, [name, "--help"]).exit_code == 0
    print(name, any(name.startswith("controlplane.tools") for name in sys.modules))
"""


def test_only_a_tool_loads_the_tools() -> None:
    others = sorted({*COMMANDS} - {*TOOLS})
    command = [sys.executable, "-c", LOADED, *others, TOOLS[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [*(f"{name} False" for name in others), f"{TOOLS[0]} True"]


def test_every_tool_is_a_command() -> None:
    assert set(TOOLS) <= set(COMMANDS)
