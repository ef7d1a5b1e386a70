"""``plimsoll nodes``: each connected Envoy, and what it was sent, acknowledged and rejected."""

import json

import click

from controlplane.cli.admin import ask, path, url_option
from controlplane.cli.node_table import print_nodes


@click.command
@url_option
@click.option("--json", "as_json", is_flag=True, help="Print the API's answer.")
def command(url: str, as_json: bool) -> None:
    """List the connected Envoys: in sync or not, and what each rejected last."""
    answer = ask(url, "GET", path("nodes"))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    elif not answer["nodes"]:
        click.echo("no Envoy is connected")
    else:
        print_nodes(answer["nodes"])
