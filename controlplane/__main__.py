"""``plimsoll``, also as ``python -m controlplane``."""

import errno

import click

from controlplane.cli.group import plimsoll
from controlplane.cli.terminal import fail


def main() -> None:
    """Run the command line and exit; bad usage is one line and exit code 2."""
    try:
        code = plimsoll.main(prog_name="plimsoll", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = error.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "plimsoll"
        problem = error.format_message().rstrip(".")
        if isinstance(error, (click.NoSuchOption, click.NoSuchCommand)):
            problem = error.message.rstrip(".")
            if error.possibilities:
                problem += f", did you mean {' or '.join(error.possibilities)}?"
                fail(f"{problem} `{command} --help` says how it is used", error.exit_code)
        fail(f"{problem}; `{command} --help` says how it is used", error.exit_code)
    except click.ClickException as error:
        fail(error.format_message(), error.exit_code)
    except click.Abort:
        fail("interrupted", 130)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        fail(f"the output cannot be written: {error.strerror}")
    raise SystemExit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
