"""RDS: which requests of a listener go to its pool, and what is tried again."""

from datetime import timedelta
from typing import Final, NamedTuple

import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 as previous_hosts_v3
import envoy_data_plane.envoy.extensions.retry.priority.previous_priorities.v3 as priorities_v3
import envoy_data_plane.envoy.type.matcher.v3 as matcher_v3
import envoy_data_plane.envoy.type.v3 as type_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.fleet import Pool
from controlplane.resources.classes import Parting, cluster_of
from controlplane.resources.hashing import hash_policy
from controlplane.settings import ClassMatch, HashSettings
from controlplane.settings.pool import RouteSettings

IDLE_AFTER: Final = timedelta(seconds=5)
"""How much later than its timeout a request ends in which nothing moves: a client that does not
read its answer. The timeout comes first, because it says what happened and counts against the
replica."""


class Routed(NamedTuple):
    """What a route needs to know of its pool.

    Attributes:
        cluster: The name of its cluster, which is its own.
        settings: Of the route.
        hashed: What of a request is hashed; None where nothing is.
        classes: The names of the classes of its requests that have a cluster of their own, and
            what belongs to each, in the order in which they are matched.
    """

    cluster: str
    settings: RouteSettings
    hashed: HashSettings | None
    classes: tuple[tuple[str, ClassMatch], ...] = ()

    @classmethod
    def to(cls, pool: Pool, parting: Parting | None) -> "Routed":
        """A route to this pool."""
        settings = pool.settings
        classes = parting.routes if parting is not None else ()
        return cls(pool.name, settings.route, settings.balancing.hash, classes)


def route_configuration(pool: Pool, parting: Parting | None = None) -> bytes:
    """Encode a pool's ``RouteConfiguration``; `parting`: how its requests are parted."""
    to = Routed.to(pool, parting)
    routes = by_class(to, route_v3.RouteMatch(prefix=to.settings.prefix))
    host = route_v3.VirtualHost(name=pool.name, domains=["*"], routes=routes)
    return bytes(route_v3.RouteConfiguration(name=pool.name, virtual_hosts=[host]))


def by_class(to: Routed, match: route_v3.RouteMatch, *, below: str = "") -> list[route_v3.Route]:
    """The routes of the requests that match: of each class, and then of all others.

    Args:
        to: The pool.
        match: Of all of them.
        below: A path that stands before those that the pool knows, as in ``/minilm``; it is taken
            away.
    """
    routes = []
    for name, of_class in to.classes:
        prefix = match.prefix if of_class.prefix is None else below + of_class.prefix
        rewrite = (of_class.prefix or to.settings.prefix) if below else ""
        routes.append(
            route_v3.Route(
                match=route_v3.RouteMatch(
                    prefix=prefix, headers=[*match.headers, *_headers(of_class)]
                ),
                route=action(
                    to._replace(cluster=cluster_of(to.cluster, name)), prefix_rewrite=rewrite
                ),
            )
        )
    others = action(to, prefix_rewrite=to.settings.prefix if below else "")
    return [*routes, route_v3.Route(match=match, route=others)]


def _headers(match: ClassMatch) -> list[route_v3.HeaderMatcher]:
    """What the headers of a request must be. One that says no length matches no range of them."""
    found = []
    if match.header is not None:
        found.append(
            route_v3.HeaderMatcher(
                name=match.header.name,
                string_match=matcher_v3.StringMatcher(exact=match.header.value),
            )
        )
    if match.lengths is not None:
        # Envoy leaves out the end of a range.
        lengths = type_v3.Int64Range(start=match.lengths.first, end=match.lengths.last + 1)
        found.append(route_v3.HeaderMatcher(name="content-length", range_match=lengths))
    return found


def action(to: Routed, *, prefix_rewrite: str = "") -> route_v3.RouteAction:
    """What is done with a request that goes to a pool.

    Args:
        to: The pool.
        prefix_rewrite: What takes the place of the prefix that was matched; empty: nothing does.
    """
    retry_policy, hedge = _retry_policy(), to.settings.hedge
    if hedge is not None:
        retry_policy.per_try_timeout = timedelta(seconds=hedge)
    return route_v3.RouteAction(
        cluster=to.cluster,
        prefix_rewrite=prefix_rewrite,
        timeout=timedelta(seconds=to.settings.timeout),
        # By default Envoy ends a stream in which nothing moves for five minutes.
        idle_timeout=timedelta(seconds=to.settings.timeout) + IDLE_AFTER,
        retry_policy=retry_policy,
        # Without it the try that takes long would be given up, and its work lost.
        hedge_policy=route_v3.HedgePolicy(hedge_on_per_try_timeout=True)
        if hedge is not None
        else None,
        hash_policy=hash_policy(to.hashed),
    )


def _retry_policy() -> route_v3.RetryPolicy:
    """Try again, elsewhere, what a replica could not answer.

    An embedding is a pure function of its text, so a request that was cut off may be sent again.
    A try has no timeout unless a pool is hedged: a slow answer is load, and a second try would
    double it.

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
