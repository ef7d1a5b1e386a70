"""Programs of peers, which are installed or not: none comes with the development tools."""

import os
import shutil
import sys
from pathlib import Path

_FOLDERS = os.pathsep.join(
    (str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")
)


class NotInstalledError(Exception):
    """A program is missing; the message says how to get it."""


def path_of(program: str, command: str) -> str:
    """Where a program is.

    Args:
        program: Its name.
        command: What installs it.

    Raises:
        NotInstalledError: It is not here.
    """
    found = shutil.which(program, path=_FOLDERS)
    if found is None:
        raise NotInstalledError(f"{program} is not installed: run {command}")
    return found
