"""HAProxy and nginx, which come from the system's packages and not from PyPI."""

import os
import shutil

import click

_SBIN = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


def path_of(program: str, package: str) -> str:
    """Where a program is.

    Args:
        program: Its name.
        package: The package of Debian and Ubuntu that has it.

    Raises:
        click.ClickException: It is not installed; says how to install it, or to do without it.
    """
    found = shutil.which(program, path=_SBIN)
    if found is None:
        raise click.ClickException(
            f"{program} is not installed: run apt-get install -y {package}, or leave it out by"
            " naming the others with --contender"
        )
    return found
