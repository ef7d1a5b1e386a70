"""What of a request a route hashes, for the clusters that choose a host by it."""

from datetime import timedelta

import envoy_data_plane.envoy.config.route.v3 as route_v3

from controlplane.config import HashSettings


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
