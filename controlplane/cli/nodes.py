"""``plimsoll nodes``: each connected Envoy, and what it was sent, acknowledged and rejected."""

import click

from controlplane.cli.admin import Api, api_options, json_option, print_json
from controlplane.cli.node_table import print_nodes
from controlplane.client import Client


@click.command
@api_options
@json_option
def command(api: Api, as_json: bool) -> None:
    """List the connected Envoys: in sync or not, and what each rejected last."""
    nodes = api.ask(Client.nodes)
    if as_json:
        print_json({"nodes": [node.document() for node in nodes]})
    elif not nodes:
        click.echo("no Envoy is connected")
    else:
        print_nodes(nodes)
