"""``plimsoll openapi``: the OpenAPI document of the API, of this version or of a control plane."""

import click
from click.core import ParameterSource

from controlplane.cli.admin import Api, api_options, print_json
from controlplane.client import Client


@click.command
@api_options
@click.option("--json", is_flag=True, expose_value=False, help="It is JSON anyway.")
@click.pass_context
def command(context: click.Context, api: Api) -> None:
    """Print the OpenAPI document of the control plane's API.

    With --url or PLIMSOLL_URL that of a running control plane, else that of this version.
    """
    if context.get_parameter_source("url") is not ParameterSource.DEFAULT:
        print_json(api.ask(Client.openapi))
        return
    from controlplane.api.openapi import document  # It builds all models.

    print_json(document())
