"""``plimsoll explain``: why each replica of a pool gets what it gets."""

import json

import click

from controlplane.cli.admin import ask, path, printable, url_option
from controlplane.cli.replica_table import headline


@click.command
@click.argument("pool")
@click.option("--replica", metavar="ID", help="Only this one.")
@url_option
@click.option("--json", "as_json", is_flag=True, help="Print the API's answer.")
def command(pool: str, replica: str | None, url: str, as_json: bool) -> None:
    """Say why each replica of POOL gets what it gets."""
    if replica is None:
        replicas = ask(url, "GET", path("pools", pool, "replicas"))["replicas"]
    else:
        replicas = [ask(url, "GET", path("pools", pool, "replicas", replica))]
    if as_json:
        click.echo(json.dumps({"replicas": replicas}, indent=2))
    elif not replicas:
        click.echo(f"{pool}: no replicas")
    else:
        if policy := replicas[0]["policy_in_force"]:
            told = "is" if replicas[0]["shares_told_to_envoy"] else "is not"
            click.echo(f"{pool}: policy {policy}; Envoy {told} told what each replica can carry")
        for known in replicas:
            click.echo(headline(known))
            for sentence in known["why"]:
                click.echo(f"  {printable(sentence)}")
