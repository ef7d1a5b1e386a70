"""RDS: which requests of a listener go to its pool, and what is tried again."""

from datetime import timedelta
from typing import Final, NamedTuple

import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 as previous_hosts_v3
import envoy_data_plane.envoy.extensions.retry.priority.previous_priorities.v3 as priorities_v3
import envoy_data_plane.envoy.type.v3 as type_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.fleet import Pool
from controlplane.resources.hashing import hash_policy
from controlplane.resources.long_requests import LongRequests, long_cluster
from controlplane.settings import HashSettings
from controlplane.settings.pool import RouteSettings


class Routed(NamedTuple):
    """What a route needs to know of its pool.

    Attributes:
        cluster: The name of its cluster, which is its own.
        settings: Of the route.
        hashed: What of a request is hashed; None where nothing is.
        long_from: Bytes from which on a request goes to the cluster for long ones; None: none do.
    """

    cluster: str
    settings: RouteSettings
    hashed: HashSettings | None
    long_from: int | None = None

    @classmethod
    def to(cls, pool: Pool, long: LongRequests | None) -> "Routed":
        """A route to this pool."""
        settings = pool.settings
        threshold = long.threshold if long is not None and long.routed else None
        return cls(pool.name, settings.route, settings.balancing.hash, threshold)


_LONGEST: Final = 1 << 62
"""Bytes; more than any request has."""


def route_configuration(pool: Pool, long: LongRequests | None = None) -> bytes:
    """Encode a pool's ``RouteConfiguration``; `long`: how its requests are parted by length."""
    to = Routed.to(pool, long)
    routes = by_length(to, route_v3.RouteMatch(prefix=to.settings.prefix))
    host = route_v3.VirtualHost(name=pool.name, domains=["*"], routes=routes)
    return bytes(route_v3.RouteConfiguration(name=pool.name, virtual_hosts=[host]))


def by_length(
    to: Routed, match: route_v3.RouteMatch, *, prefix_rewrite: str = ""
) -> list[route_v3.Route]:
    """The routes of the requests that match: first of the long ones, where they are parted.

    A request that does not say how long it is goes with the short ones.
    """
    route = route_v3.Route(match=match, route=action(to, prefix_rewrite=prefix_rewrite))
    if to.long_from is None:
        return [route]
    long = route_v3.HeaderMatcher(
        name="content-length",
        range_match=type_v3.Int64Range(start=to.long_from, end=_LONGEST),
    )
    return [
        route_v3.Route(
            match=route_v3.RouteMatch(prefix=match.prefix, headers=[*match.headers, long]),
            route=action(
                to._replace(cluster=long_cluster(to.cluster)), prefix_rewrite=prefix_rewrite
            ),
        ),
        route,
    ]


def action(to: Routed, *, prefix_rewrite: str = "") -> route_v3.RouteAction:
    """What is done with a request that goes to a pool.

    Args:
        to: The pool.
        prefix_rewrite: What takes the place of the prefix that was matched; empty: nothing does.
    """
    return route_v3.RouteAction(
        cluster=to.cluster,
        prefix_rewrite=prefix_rewrite,
        timeout=timedelta(seconds=to.settings.timeout),
        retry_policy=_retry_policy(),
        hash_policy=hash_policy(to.hashed),
    )


def _retry_policy() -> route_v3.RetryPolicy:
    """Try again, elsewhere, what a replica could not answer.

    An embedding is a pure function of its text, so a request that was cut off may be sent again.
    There is no timeout per try: a slow answer is load, and a second try would double it.

    Of four tries two are where a request belongs, and two in another priority if there is one: its
    two fast replicas, or all of a zone, may be down before a health check has seen it.
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
        retry_priority=route_v3.RetryPolicyRetryPriority(
            name="envoy.retry_priorities.previous_priorities",
            typed_config=protobuf.Any.pack(
                priorities_v3.PreviousPrioritiesConfig(update_frequency=2)
            ),
        ),
        retry_back_off=route_v3.RetryPolicyRetryBackOff(
            base_interval=timedelta(milliseconds=25), max_interval=timedelta(milliseconds=250)
        ),
    )
