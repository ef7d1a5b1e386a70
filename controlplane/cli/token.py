"""``plimsoll token``: make a token, and the line that lets it into the token file."""

import json
import secrets

import click

from controlplane.cli.failure import USAGE, fail
from controlplane.config import Role, SettingsError, Token, parse_tokens


@click.command
@click.argument("role", type=click.Choice([role.value for role in Role]))
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one object with both.")
def command(role: str, name: str, as_json: bool) -> None:
    """Make a token of ROLE for NAME.

    The token is for whoever uses the API (in PLIMSOLL_TOKEN, say) and is shown once; the line is
    for the file that admin.token_file names, and does not tell the token.
    """
    text = secrets.token_urlsafe(32)
    token = Token.of(text, Role(role), name)
    try:
        parse_tokens(token.line, "NAME")
    except SettingsError as error:
        fail(f"NAME {name!r}: {error.problem}", USAGE)
    if as_json:
        click.echo(json.dumps({"token": text, "line": token.line}))
    else:
        click.echo(f"token: {text}\nline:  {token.line}")
