"""RDS for a gateway: one listener for all pools, each found by a header or by the path."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.type.matcher.v3 as matcher_v3

from controlplane.resources.resource import ROUTE, Resource
from controlplane.resources.routes import Routed, by_class

GATEWAY: Final = "gateway"
"""The name of a gateway's listener and of its route configuration."""

POOL_HEADER: Final = "x-plimsoll-pool"
"""The request header that names a pool."""

_NO_POOL: Final = f"no such pool: put its name first in the path, or in the header {POOL_HEADER}\n"


@lru_cache(maxsize=256)
def gateway_routes(pools: tuple[Routed, ...]) -> Resource:
    """The ``RouteConfiguration`` of a gateway.

    Args:
        pools: In the order of their names.
    """
    host = route_v3.VirtualHost(name=GATEWAY, domains=["*"], routes=_routes(pools))
    message = route_v3.RouteConfiguration(name=GATEWAY, virtual_hosts=[host])
    return Resource.of(ROUTE, GATEWAY, bytes(message))


def _routes(pools: Sequence[Routed]) -> list[route_v3.Route]:
    by_header = [
        route
        for to in pools
        for route in by_class(
            to, route_v3.RouteMatch(prefix=to.settings.prefix, headers=[_names(to.cluster)])
        )
    ]
    by_path = [
        route
        for to in pools
        for route in by_class(
            to,
            route_v3.RouteMatch(prefix=f"/{to.cluster}{to.settings.prefix}"),
            below=f"/{to.cluster}",
        )
    ]
    unknown = route_v3.Route(
        match=route_v3.RouteMatch(prefix="/"),
        direct_response=route_v3.DirectResponseAction(
            status=404, body=core_v3.DataSource(inline_string=_NO_POOL)
        ),
    )
    return [*by_header, *by_path, unknown]


def _names(pool: str) -> route_v3.HeaderMatcher:
    return route_v3.HeaderMatcher(
        name=POOL_HEADER, string_match=matcher_v3.StringMatcher(exact=pool)
    )
