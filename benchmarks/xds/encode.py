"""What a change of all weights costs to encode: ours beside betterproto2, in one run.

    python -m benchmarks.xds.encode

Ours goes from the pool and its weights to the packed and versioned resource; the endpoints were
encoded before, with other weights. betterproto2 only builds the message and encodes it, and either
is measured. Both make the same bytes, which is checked.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import count
from typing import Final

import click
import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3

from controlplane.config import PoolSettings, ReplicaSettings, validated
from controlplane.fleet import Pool, Replica, Replicas, Source
from controlplane.resources.endpoints import (
    OVERPROVISIONING_PERCENT,
    EndpointWeight,
    assignment,
    members,
)
from controlplane.resources.messages import socket_address
from controlplane.resources.resource import ENDPOINT, Resource

TIERS: Final = 3
REPETITIONS: Final = 9
CHANGES: Final = 20
"""Of all weights, that ours encodes in a repetition: one takes a few milliseconds, and a moment in
which the machine does something else would be all of it."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """Changes of all weights: milliseconds of CPU for each.

    Attributes:
        ours: From pool and weights to the packed resource, mean of `CHANGES` changes.
        encoding: betterproto2, from the built message to bytes.
        building: betterproto2, from pool and weights to the built message.
    """

    ours: float
    encoding: float
    building: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured.

    Attributes:
        endpoints: In the assignment.
        size: Of the encoded assignment, in bytes.
        repetitions: In order.
    """

    endpoints: int
    size: int
    repetitions: tuple[Repetition, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times what we need betterproto2 needs to encode, without building."""
        return tuple(repetition.encoding / repetition.ours for repetition in self.repetitions)

    @property
    def ratios_with_building(self) -> tuple[float, ...]:
        """The same, where betterproto2 builds the message too, as we do."""
        return tuple(
            (repetition.building + repetition.encoding) / repetition.ours
            for repetition in self.repetitions
        )


def run(endpoints: int = 1000, repetitions: int = REPETITIONS) -> Figures:
    """Change all weights again and again, and encode each change in both ways, in turn.

    Args:
        endpoints: In the pool, at least one.
        repetitions: At least one.

    Raises:
        RuntimeError: When the two do not make the same bytes; then there is nothing to compare.
    """
    pool = _pool(endpoints)
    changes = count()
    # One more, not counted, fills our cache, and whatever betterproto2 keeps.
    _, *measured = [_repetition(pool, changes) for _ in range(repetitions + 1)]
    size = len(assignment(pool.name, members(pool, _endpoint_weights(pool, next(changes)))))
    return Figures(endpoints, size, tuple(measured))


def table(figures: Figures) -> str:
    """The figures to read: medians, and between which they were."""
    done = figures.repetitions
    lines = [
        f"{figures.endpoints} endpoints in {TIERS} tiers, {figures.size / 1000:.0f} kB, all weights"
        f" changed, {len(done)} repetitions, CPU ms each"
    ]
    for name, values in {
        "ours, from weights to the resource": [one_run.ours for one_run in done],
        "betterproto2, encoding": [one_run.encoding for one_run in done],
        "betterproto2, building and encoding": [
            one_run.building + one_run.encoding for one_run in done
        ],
    }.items():
        lines.append(f"{name:>36}  {_spread(values, 2)}")
    lines.append(f"{'ratio to encoding':>36}  {_spread(figures.ratios, 0)}")
    lines.append(f"{'ratio to both':>36}  {_spread(figures.ratios_with_building, 0)}")
    return "\n".join(lines)


def _spread(values: Sequence[float], places: int) -> str:
    low, middle, high = (
        f"{value:.{places}f}" for value in (min(values), statistics.median(values), max(values))
    )
    return f"median {middle}  ({low} to {high})"


def _repetition(pool: Pool, changes: Iterator[int]) -> Repetition:
    changed = [_endpoint_weights(pool, next(changes)) for _ in range(CHANGES)]
    endpoint_weights = changed[-1]
    begun = time.process_time()
    for each in changed:
        Resource.of(ENDPOINT, pool.name, assignment(pool.name, members(pool, each)))
    packed = time.process_time()
    message = _message(pool, endpoint_weights)
    built = time.process_time()
    encoded = bytes(message)
    ended = time.process_time()
    if encoded != assignment(pool.name, members(pool, endpoint_weights)):
        raise RuntimeError("ours and betterproto2's bytes differ: there is nothing to compare")
    return Repetition(
        ours=1000 * (packed - begun) / CHANGES,
        encoding=1000 * (ended - built),
        building=1000 * (built - packed),
    )


def _pool(endpoints: int) -> Pool:
    body = {"model": "m", "listener": {"address": "127.0.0.1:10000"}}
    replicas = {}
    for number in range(endpoints):
        id_, address = f"replica-{number}", f"{ip_address('10.0.0.1') + number}:9000"
        settings = validated(ReplicaSettings, {"address": address})
        replicas[id_] = Replica(id_, settings, Source.FILE, generation=number)
    return Pool("embeddings", validated(PoolSettings, body), Source.FILE, Replicas(replicas))


def _endpoint_weights(pool: Pool, change: int) -> dict[str, EndpointWeight]:
    """Weights as they are in practice: tiers in steps of a fifth, the slowest about 1000."""
    return {
        id_: EndpointWeight(
            f"tier-{number % TIERS}", round(1000 * 1.2 ** (number % TIERS)) + change
        )
        for number, id_ in enumerate(pool.replicas)
    }


def _message(
    pool: Pool, endpoint_weights: Mapping[str, EndpointWeight]
) -> endpoint_v3.ClusterLoadAssignment:
    tiers: dict[str, list[Replica]] = defaultdict(list)
    for replica in sorted(pool.replicas.values(), key=lambda one_run: one_run.id):
        tiers[endpoint_weights[replica.id].tier].append(replica)
    return endpoint_v3.ClusterLoadAssignment(
        cluster_name=pool.name,
        endpoints=[
            endpoint_v3.LocalityLbEndpoints(
                locality=core_v3.Locality(sub_zone=tier),
                load_balancing_weight=sum(
                    endpoint_weights[one_run.id].weight for one_run in tiers[tier]
                ),
                lb_endpoints=[
                    _endpoint(one_run, endpoint_weights[one_run.id].weight)
                    for one_run in tiers[tier]
                ],
            )
            for tier in sorted(tiers)
        ],
        policy=endpoint_v3.ClusterLoadAssignmentPolicy(
            overprovisioning_factor=OVERPROVISIONING_PERCENT
        ),
    )


def _endpoint(replica: Replica, weight: int) -> endpoint_v3.LbEndpoint:
    address = socket_address(replica.settings.address)
    return endpoint_v3.LbEndpoint(
        endpoint=endpoint_v3.Endpoint(
            address=address,
            hostname=replica.id,
            health_check_config=endpoint_v3.EndpointHealthCheckConfig(
                hostname=str(replica.settings.address)
            ),
        ),
        load_balancing_weight=weight,
    )


if __name__ == "__main__":
    click.echo(table(run()))
