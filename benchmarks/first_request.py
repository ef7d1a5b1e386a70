"""What it costs to read the first request of an Envoy: ours beside betterproto2, in one run.

    python -m benchmarks.first_request

That request carries the whole list of the extensions that an Envoy was built with, and after a
restart of the control plane every Envoy sends one at once.
"""

import statistics
import time
from collections.abc import Callable
from typing import Final

import click
import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.service.discovery.v3 as discovery_v3

from controlplane.resources.resource import CLUSTER
from controlplane.xds import decode_delta

EXTENSIONS: Final = 516
"""As many as Envoy 1.40 names."""
ROUNDS: Final = 15


def first_request() -> bytes:
    """A request like Envoy's, with names as long as its own."""
    extensions = [
        core_v3.Extension(
            name=f"envoy.filters.http.an_extension_{number}",
            category="envoy.filters.http",
            type_urls=[f"envoy.extensions.filters.http.an_extension_{number}.v3.AnExtension"],
        )
        for number in range(EXTENSIONS)
    ]
    node = core_v3.Node(id="sidecar", cluster="plimsoll", extensions=extensions)
    return bytes(discovery_v3.DeltaDiscoveryRequest(node=node, type_url=CLUSTER))


def milliseconds(read: Callable[[bytes], object], data: bytes) -> float:
    """CPU time of reading it once."""
    begun = time.process_time()
    read(data)
    return (time.process_time() - begun) * 1000


def main() -> None:
    """Print both, interleaved, and the ratio."""
    data = first_request()
    readers: dict[str, Callable[[bytes], object]] = {
        "betterproto2": discovery_v3.DeltaDiscoveryRequest.parse,
        "ours": decode_delta,
    }
    taken: dict[str, list[float]] = {name: [] for name in readers}
    for read in readers.values():
        milliseconds(read, data)
    for _ in range(ROUNDS):
        for name, read in readers.items():
            taken[name].append(milliseconds(read, data))
    click.echo(f"{len(data) / 1000:.0f} kB, {EXTENSIONS} extensions, {ROUNDS} rounds, CPU ms each")
    for name, values in taken.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        click.echo(f"{name:>12}  median {middle:.2f}  ({low:.2f} to {high:.2f})")
    pairs = zip(taken["betterproto2"], taken["ours"], strict=True)
    click.echo(f"       ratio  {statistics.median(theirs / ours for theirs, ours in pairs):.0f} x")


if __name__ == "__main__":
    main()
