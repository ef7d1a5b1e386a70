"""RDS: which requests of a listener go to its pool, and what is tried again."""

from datetime import timedelta
from typing import NamedTuple

import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 as previous_hosts_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.fleet import Pool
from controlplane.resources.hashing import hash_policy
from controlplane.settings import HashSettings
from controlplane.settings.pool import RouteSettings


class Routed(NamedTuple):
    """What a route needs to know of its pool.

    Attributes:
        pool: Its name, which is its cluster's.
        settings: Of the route.
        hashed: What of a request is hashed; None where nothing is.
    """

    pool: str
    settings: RouteSettings
    hashed: HashSettings | None

    @classmethod
    def to(cls, pool: Pool) -> "Routed":
        """A route to this pool."""
        return cls(pool.name, pool.settings.route, pool.settings.balancing.hash)


def route_configuration(pool: Pool) -> bytes:
    """Encode a pool's ``RouteConfiguration``."""
    to = Routed.to(pool)
    route = route_v3.Route(match=route_v3.RouteMatch(prefix=to.settings.prefix), route=action(to))
    host = route_v3.VirtualHost(name=pool.name, domains=["*"], routes=[route])
    return bytes(route_v3.RouteConfiguration(name=pool.name, virtual_hosts=[host]))


def action(to: Routed, *, prefix_rewrite: str = "") -> route_v3.RouteAction:
    """What is done with a request that goes to a pool.

    Args:
        to: The pool.
        prefix_rewrite: What takes the place of the prefix that was matched; empty: nothing does.
    """
    return route_v3.RouteAction(
        cluster=to.pool,
        prefix_rewrite=prefix_rewrite,
        timeout=timedelta(seconds=to.settings.timeout),
        retry_policy=_retry_policy(),
        hash_policy=hash_policy(to.hashed),
    )


def _retry_policy() -> route_v3.RetryPolicy:
    """Try again, elsewhere, what a replica could not answer.

    An embedding is a pure function of its text, so a request that was cut off may be sent again.
    There is no timeout per try: a slow answer is load, and a second try would double it.
    """
    return route_v3.RetryPolicy(
        retry_on="reset,connect-failure,refused-stream,retriable-status-codes",
        retriable_status_codes=[503],
        num_retries=3,
        retry_host_predicate=[
            route_v3.RetryPolicyRetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=protobuf.Any.pack(previous_hosts_v3.PreviousHostsPredicate()),
            )
        ],
        host_selection_retry_max_attempts=5,
        retry_back_off=route_v3.RetryPolicyRetryBackOff(
            base_interval=timedelta(milliseconds=25), max_interval=timedelta(milliseconds=250)
        ),
    )
