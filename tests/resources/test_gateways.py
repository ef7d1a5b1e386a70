"""What a gateway does with a request: which pool it goes to, as what, and when to none."""

import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.config import ClassMatch, validated
from controlplane.config.pool import RouteSettings
from controlplane.resources.resource import ROUTE
from controlplane.resources.routes import GATEWAY, POOL_HEADER, Routed, gateway_routes

POOLS = (
    Routed("p", validated(RouteSettings, {"prefix": "/v1", "timeout": "2s"}), None),
    Routed("q", validated(RouteSettings, {"prefix": "/", "timeout": "3s"}), None),
)


def routes(pools: tuple[Routed, ...] = POOLS) -> list[route_v3.Route]:
    resource = gateway_routes(pools)
    packed = protobuf.Any.parse(resource.packed)
    message = route_v3.RouteConfiguration.parse(packed.value)
    assert (resource.name, message.name, packed.type_url) == (GATEWAY, GATEWAY, ROUTE)
    (host,) = message.virtual_hosts
    assert host.domains == ["*"]
    return host.routes


def targets(found: list[route_v3.Route]) -> list[tuple[str, str, str, float]]:
    """Prefix that is matched, cluster, what the prefix becomes, and the time that it may take."""
    told = []
    for each in found:
        assert each.match is not None
        assert each.route is not None
        assert each.route.timeout is not None
        assert each.match.prefix is not None
        seconds = each.route.timeout.total_seconds()
        told.append((each.match.prefix, each.name, each.route.prefix_rewrite, seconds))
    return told


def test_a_pool_named_in_the_header_is_found_below_its_own_prefix_which_stays() -> None:
    by_header = routes()[:2]
    assert targets(by_header) == [("/v1", "p", "", 2.0), ("/", "q", "", 3.0)]
    names = []
    for each in by_header:
        assert each.match is not None
        (header,) = each.match.headers
        assert header.string_match is not None
        names.append((header.name, header.string_match.exact, header.invert_match))
    assert names == [(POOL_HEADER, "p", False), (POOL_HEADER, "q", False)]


def test_a_pool_named_first_in_the_path_is_found_without_a_header_and_its_name_is_cut_off() -> None:
    by_path = routes()[2:4]
    assert targets(by_path) == [("/p/v1", "p", "/v1", 2.0), ("/q/", "q", "/", 3.0)]
    assert [each.match.headers for each in by_path if each.match] == [[], []]


def test_a_class_without_a_prefix_is_limited_to_that_of_its_pool() -> None:
    settings = validated(RouteSettings, {"prefix": "/v1"})
    classes = (("bulk", ClassMatch(min_bytes=10)), ("jobs", ClassMatch(prefix="/v1/jobs")))
    found = routes((Routed("p", settings, None, classes),))
    in_path = [each.match.prefix for each in found if each.match and each.route][3:]
    becomes = [each.route.prefix_rewrite for each in found if each.route][3:]
    assert in_path == ["/p/v1", "/p/v1/jobs", "/p/v1"]
    assert becomes == ["/v1", "/v1/jobs", "/v1"]


def test_a_request_for_no_pool_is_told_how_to_name_one() -> None:
    (*_, last) = routes()
    assert len(routes()) == 5
    assert last.match is not None
    assert (last.match.prefix, last.match.headers) == ("/", [])
    assert last.direct_response is not None
    assert last.direct_response.status == 404
    assert last.direct_response.body is not None
    assert POOL_HEADER in (last.direct_response.body.inline_string or "")


def test_what_a_replica_could_not_answer_is_tried_again_by_a_gateway_too() -> None:
    assert all(each.route.retry_policy for each in routes() if each.route)
