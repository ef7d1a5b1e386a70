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

BELOW = "([/:].*)?"


def routes(pools: tuple[Routed, ...] = POOLS) -> list[route_v3.Route]:
    resource = gateway_routes(pools)
    packed = protobuf.Any.parse(resource.packed)
    message = route_v3.RouteConfiguration.parse(packed.value)
    assert (resource.name, message.name, packed.type_url) == (GATEWAY, GATEWAY, ROUTE)
    (host,) = message.virtual_hosts
    assert host.domains == ["*"]
    return host.routes


def targets(found: list[route_v3.Route]) -> list[tuple[str, str, str, float]]:
    """What of a path is matched, cluster, what is cut off, and the time that it may take."""
    told = []
    for each in found:
        assert each.match is not None
        assert each.route is not None
        assert each.route.timeout is not None
        seconds = each.route.timeout.total_seconds()
        told.append((matched(each.match), each.name, cut_off(each.route), seconds))
    return told


def matched(match: route_v3.RouteMatch) -> str:
    """The prefix or the regular expression of the paths that match."""
    return match.prefix or (match.safe_regex.regex if match.safe_regex is not None else "")


def cut_off(action: route_v3.RouteAction) -> str:
    """The regular expression of what is cut off a path; all else stays."""
    if (rewrite := action.regex_rewrite) is None:
        return ""
    assert rewrite.pattern is not None
    assert rewrite.substitution == "/"
    return rewrite.pattern.regex


def test_a_pool_named_in_the_header_is_found_below_its_own_prefix_which_stays() -> None:
    by_header = routes()[:2]
    assert targets(by_header) == [(f"/v1{BELOW}", "p", "", 2.0), ("/", "q", "", 3.0)]
    names = []
    for each in by_header:
        assert each.match is not None
        (header,) = each.match.headers
        assert header.string_match is not None
        names.append((header.name, header.string_match.exact, header.invert_match))
    assert names == [(POOL_HEADER, "p", False), (POOL_HEADER, "q", False)]


def test_a_pool_named_first_in_the_path_is_found_without_a_header_and_its_name_is_cut_off() -> None:
    by_path = routes()[2:4]
    assert targets(by_path) == [(f"/p/v1{BELOW}", "p", "^/p/", 2.0), ("/q/", "q", "^/q/", 3.0)]
    assert [each.match.headers for each in by_path if each.match] == [[], []]


def test_a_class_without_a_prefix_is_limited_to_that_of_its_pool() -> None:
    settings = validated(RouteSettings, {"prefix": "/v1"})
    classes = (("bulk", ClassMatch(min_bytes=10)), ("jobs", ClassMatch(prefix="/v1/jobs")))
    found = routes((Routed("p", settings, None, classes),))
    in_path = [matched(each.match) for each in found if each.match and each.route][3:]
    assert in_path == [f"/p/v1{BELOW}", f"/p/v1/jobs{BELOW}", f"/p/v1{BELOW}"]
    assert {cut_off(each.route) for each in found[3:] if each.route} == {"^/p/"}


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
