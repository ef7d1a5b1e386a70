"""``plimsoll nodes``: each connected Envoy, and what it was sent, acknowledged and rejected."""

import click

from controlplane.cli.admin import Api, api_options, json_option, print_json
from controlplane.cli.node_table import print_nodes, print_refused
from controlplane.client import Client


@click.command
@api_options
@json_option
def command(api: Api, as_json: bool) -> None:
    """List the connected Envoys: in sync or not, what each rejected last, and who was refused."""
    found = api.ask(Client.node_list)
    if as_json:
        print_json(found.document())
        return
    if found.nodes:
        print_nodes(found.nodes)
    else:
        click.echo("no Envoy is connected")
    print_refused(found.refused)
