"""`plimsoll token` and `plimsoll openapi`: a token for the API, and the API's description."""

import json
import secrets

import click
from click.core import ParameterSource

from controlplane.cli.admin import Api, api_options
from controlplane.cli.terminal import USAGE, fail, print_json
from controlplane.client import Client
from controlplane.config import Role, SettingsError, Token, parse_tokens


@click.command("token")
@click.argument("role", type=click.Choice([role.value for role in Role]))
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one object with both.")
def token(role: str, name: str, as_json: bool) -> None:
    """Make a token of ROLE for NAME.

    The token is for the user of the API (in PLIMSOLL_TOKEN, for example) and is shown once. The
    line belongs in the file that admin.token_file names, and does not reveal the token.
    """
    text = secrets.token_urlsafe(32)
    made = Token.of(text, Role(role), name)
    try:
        parse_tokens(made.line, "NAME")
    except SettingsError as error:
        fail(f"NAME {name!r}: {error.problem}", USAGE)
    if as_json:
        click.echo(json.dumps({"token": text, "line": made.line}))
    else:
        click.echo(f"token: {text}\nline:  {made.line}")


@click.command("openapi")
@api_options
@click.option("--json", is_flag=True, expose_value=False, help="The document is JSON anyway.")
@click.pass_context
def openapi(context: click.Context, api: Api) -> None:
    """Print the OpenAPI document of the control plane's API.

    With --url or PLIMSOLL_URL, the document of a running control plane; else of this version.
    """
    if context.get_parameter_source("url") is not ParameterSource.DEFAULT:
        print_json(api.ask(Client.openapi))
        return
    from controlplane.api.openapi import document  # This import builds all models.

    print_json(document())
