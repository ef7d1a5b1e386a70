"""RDS: which requests go to which pool, at a sidecar and at a gateway, and what is tried again."""

import re
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Final, NamedTuple

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.type.matcher.v3 as matcher_v3
import envoy_data_plane.envoy.type.v3 as type_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.config import ClassMatch, HashSettings
from controlplane.config.pool import EXPLAIN_HEADER, RouteSettings
from controlplane.config.values import pattern_below
from controlplane.fleet import Pool
from controlplane.resources.classes import UNPARTED, Parting, cluster_of, via_cluster_of
from controlplane.resources.messages import exact_header, set_header
from controlplane.resources.resource import ROUTE, Resource
from controlplane.resources.retries import (
    BUFFERED,
    HEDGED_TRIES,
    RETRY_HEADER,
    TRIED,
    clusters_by_try,
    retry_policy,
)

IDLE_AFTER: Final = timedelta(seconds=5)
"""How much later than its timeout a request ends in which nothing moves: a client that does not
read its answer. The timeout comes first, because it says what happened and counts against the
replica."""


KEPT_ANSWER: Final = 4 << 20
"""Bytes of an answer that an Envoy keeps at most until all of it has come: a batch of a thousand
embeddings with a thousand numbers each is sent again where it was cut off. It cannot keep more than
it may of a request."""


_EXPLAINED: Final = (
    "time=%START_TIME% cluster=%UPSTREAM_CLUSTER_RAW% replica=%UPSTREAM_HOST_NAME_WITHOUT_PORT%"
    " upstream=%UPSTREAM_HOST% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% flags=%RESPONSE_FLAGS%"
    " details=%RESPONSE_CODE_DETAILS%"
)
"""In the words of the access log: `plimsoll explain --request` reads both."""


class Routed(NamedTuple):
    """The properties of a pool that its routes need.

    `classes` are those with a cluster of their own, in the order in which they are matched; `via`
    names the classes that go through gateways.
    """

    cluster: str
    settings: RouteSettings
    hashed: HashSettings | None
    classes: tuple[tuple[str, ClassMatch], ...] = ()
    via: frozenset[str] = frozenset()

    @classmethod
    def to(cls, pool: Pool, parting: Parting) -> "Routed":
        """A route to this pool."""
        settings = pool.settings
        return cls(pool.name, settings.route, settings.balancing.hash, parting.routes)


def route_configuration(pool: Pool, parting: Parting = UNPARTED) -> bytes:
    """Encode a pool's ``RouteConfiguration``."""
    to = Routed.to(pool, parting)
    to = to._replace(via=frozenset(n for n, _ in to.classes if pool.settings.gateways_of(n)))
    return bytes(configuration(pool.name, by_class(to), hides=(RETRY_HEADER, TRIED)))


def configuration(
    name: str, routes: list[route_v3.Route], hides: Sequence[str] = (RETRY_HEADER,)
) -> route_v3.RouteConfiguration:
    """Routes for requests of every host; `hides`: response headers that clients do not see."""
    host = route_v3.VirtualHost(
        name=name,
        domains=["*"],
        routes=routes,
        # It distinguishes the second try of a request from the first.
        include_request_attempt_count=True,
        # And by it one whose first try goes on from one whose first try failed.
        include_is_timeout_retry_header=True,
        response_headers_to_remove=[*hides],
    )
    return route_v3.RouteConfiguration(name=name, virtual_hosts=[host])


def by_class(
    to: Routed, headers: Sequence[route_v3.HeaderMatcher] = (), *, below: str = ""
) -> list[route_v3.Route]:
    """The routes of a pool's requests with these headers: of each class, and then of all others.

    `below`: a path, as in ``/minilm``, that stands before the pool's own and is taken away.
    """
    routes = []
    for name, of_class in to.classes:
        of = to._replace(cluster=cluster_of(to.cluster, name))
        prefix = below + (of_class.prefix or to.settings.prefix)
        matchers = [*headers, *header_matchers(of_class)]
        if name in to.via:
            first = path_match(prefix, [*matchers, _NAMES_NO_POOL])
            routes.append(_via_gateways(of, first, to.cluster))
        routes.append(route(of, path_match(prefix, matchers), below))
    return [*routes, route(to, path_match(below + to.settings.prefix, headers), below)]


def path_match(prefix: str, headers: Sequence[route_v3.HeaderMatcher]) -> route_v3.RouteMatch:
    """Match requests below a prefix that have these headers."""
    if prefix.endswith("/"):
        return route_v3.RouteMatch(prefix=prefix, headers=[*headers])
    # Envoy's own `path_separated_prefix` does not know `/v1:predict`, nor do gRPC clients know it.
    below = matcher_v3.RegexMatcher(regex=pattern_below(prefix))
    return route_v3.RouteMatch(safe_regex=below, headers=[*headers])


def _via_gateways(to: Routed, match: route_v3.RouteMatch, pool: str) -> route_v3.Route:
    """The route of a class through gateways.

    A request that says its pool came through an Envoy already, or its client wants to spare itself
    the way: it goes straight to the replicas, so none goes round in circles.
    """
    found = route(to, match)
    found.route = _action(to, "", first=via_cluster_of(to.cluster))
    found.request_headers_to_add = [set_header(POOL_HEADER, pool)]
    return found


def header_matchers(match: ClassMatch) -> list[route_v3.HeaderMatcher]:
    """What the headers of a class's requests must be; without a length no range of them matches."""
    found = []
    if match.header is not None:
        found.append(exact_header(match.header.name, match.header.value))
    if match.lengths is not None:
        # Envoy leaves out the end of a range.
        lengths = type_v3.Int64Range(start=match.lengths.first, end=match.lengths.last + 1)
        found.append(route_v3.HeaderMatcher(name="content-length", range_match=lengths))
    return found


def route(to: Routed, match: route_v3.RouteMatch, below: str = "") -> route_v3.Route:
    """Build the action of a route; `below`: the part of the path that replicas do not see."""
    return route_v3.Route(
        # The limiter of retries goes by it.
        name=to.cluster,
        match=match,
        metadata=_for_script(to.settings),
        route=_action(to, below),
        request_body_buffer_limit=to.settings.retry_buffer,
        # Nothing that a replica says passes for it.
        response_headers_to_add=[set_header(EXPLAIN_HEADER, _EXPLAINED)]
        if to.settings.explain
        else [],
    )


def _for_script(settings: RouteSettings) -> core_v3.Metadata:
    buffered = min(settings.retry_buffer, KEPT_ANSWER)
    known = protobuf.Struct(fields={BUFFERED: protobuf.Value(number_value=buffered)})
    return core_v3.Metadata(filter_metadata={"envoy.filters.http.lua": known})


def _action(to: Routed, below: str, first: str | None = None) -> route_v3.RouteAction:
    retries, hedge = retry_policy(), to.settings.hedge
    if hedge is not None:
        retries.per_try_timeout = timedelta(seconds=hedge)
        retries.num_retries = HEDGED_TRIES - 1
    return route_v3.RouteAction(
        inline_cluster_specifier_plugin=clusters_by_try(to.cluster, first or to.cluster),
        regex_rewrite=matcher_v3.RegexMatchAndSubstitute(
            pattern=matcher_v3.RegexMatcher(regex=f"^{re.escape(below)}/"), substitution="/"
        )
        if below
        else None,
        timeout=timedelta(seconds=to.settings.timeout),
        # By default Envoy ends a stream in which nothing moves for five minutes.
        idle_timeout=timedelta(seconds=to.settings.timeout) + IDLE_AFTER,
        retry_policy=retries,
        # Without it the try that takes long would be given up, and its work lost.
        hedge_policy=route_v3.HedgePolicy(hedge_on_per_try_timeout=True)
        if hedge is not None
        else None,
        hash_policy=hash_policy(to.hashed),
    )


GATEWAY: Final = "gateway"
"""The name of a gateway's listener and of its route configuration."""

POOL_HEADER: Final = "x-plimsoll-pool"
"""The request header that names a pool."""

_NAMES_NO_POOL: Final = route_v3.HeaderMatcher(
    name=POOL_HEADER, present_match=True, invert_match=True
)
_NO_POOL: Final = f"no such pool: put its name first in the path, or in the header {POOL_HEADER}\n"


@lru_cache(maxsize=256)
def gateway_routes(pools: tuple[Routed, ...]) -> Resource:
    """The ``RouteConfiguration`` of a gateway for pools in the order of their names."""
    return Resource.of(ROUTE, GATEWAY, bytes(configuration(GATEWAY, _routes(pools))))


def _routes(pools: Sequence[Routed]) -> list[route_v3.Route]:
    by_header, by_path = list[route_v3.Route](), list[route_v3.Route]()
    for to in pools:
        by_header += by_class(to, [exact_header(POOL_HEADER, to.cluster)])
        by_path += by_class(to, below=f"/{to.cluster}")
    unknown = route_v3.Route(
        match=route_v3.RouteMatch(prefix="/"),
        direct_response=route_v3.DirectResponseAction(
            status=404, body=core_v3.DataSource(inline_string=_NO_POOL)
        ),
    )
    return [*by_header, *by_path, unknown]


def hash_policy(settings: HashSettings | None) -> list[route_v3.RouteActionHashPolicy]:
    """The ``hash_policy`` of a route's action; empty where the pool's policy does not hash."""
    if settings is None:
        return []
    if settings.header is not None:
        header = route_v3.RouteActionHashPolicyHeader(header_name=settings.header)
        return [route_v3.RouteActionHashPolicy(header=header)]
    if settings.cookie is not None:
        return [route_v3.RouteActionHashPolicy(cookie=_cookie(settings.cookie, settings.ttl))]
    source = route_v3.RouteActionHashPolicyConnectionProperties(source_ip=True)
    return [route_v3.RouteActionHashPolicy(connection_properties=source)]


def _cookie(name: str, ttl: float | None) -> route_v3.RouteActionHashPolicyCookie:
    if ttl is None:
        return route_v3.RouteActionHashPolicyCookie(name=name)
    # Without a path a client would send it back only with requests to the folder of this one.
    return route_v3.RouteActionHashPolicyCookie(name=name, ttl=timedelta(seconds=ttl), path="/")
