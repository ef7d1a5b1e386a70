"""What a sidecar opens for its application, and what becomes of a request that arrives there."""

from datetime import timedelta

import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 as grpc_log_v3
import envoy_data_plane.envoy.extensions.router.cluster_specifiers.matcher.v3 as specifier_v3
import envoy_data_plane.xds.type.matcher.v3 as matcher_v3
import pytest

from controlplane.config import Address
from controlplane.resources.retries import BUFFERED, RETRY_HEADER, TRIED
from tests.resources.decoded import (
    a_pool_of,
    a_pool_with,
    connection_manager,
    decoded_listener,
    decoded_route,
)


def action(**settings: object) -> route_v3.RouteAction:
    (host,) = decoded_route(a_pool_with(**settings)).virtual_hosts
    found = host.routes[0].route
    assert found is not None
    return found


def retries() -> route_v3.RetryPolicy:
    found = action().retry_policy
    assert found is not None
    return found


@pytest.mark.parametrize("address", [Address("0.0.0.0", 10000), Address("::1", 10001)])
def test_a_listener_is_where_it_is_told(address: Address) -> None:
    found = decoded_listener("p", address).address
    assert found is not None
    assert found.socket_address is not None
    assert (found.socket_address.address, found.socket_address.port_value) == (
        address.host,
        address.port,
    )


def test_a_listener_takes_the_route_of_its_own_name_over_the_same_stream() -> None:
    rds = connection_manager("p").rds
    assert rds is not None
    assert rds.route_config_name == "p" == decoded_route(a_pool_of(0)).name
    assert rds.config_source is not None
    assert rds.config_source.ads is not None


def test_a_listener_tells_nobody_of_its_requests_unless_it_is_told_over_which_cluster() -> None:
    assert connection_manager("p").access_log == []
    (log,) = connection_manager("p", "ours").access_log
    assert log.name == "envoy.access_loggers.http_grpc"
    assert log.typed_config is not None
    config = grpc_log_v3.HttpGrpcAccessLogConfig.parse(log.typed_config.value).common_config
    assert config is not None
    assert config.grpc_service is not None
    assert config.grpc_service.envoy_grpc is not None
    assert config.grpc_service.envoy_grpc.cluster_name == "ours"
    assert config.buffer_flush_interval == timedelta(seconds=1)


def test_one_request_in_five_is_told_of_whatever_its_id() -> None:
    (log,) = connection_manager("p", "ours").access_log
    assert log.filter is not None
    sampled = log.filter.runtime_filter
    assert sampled is not None
    assert sampled.use_independent_randomness
    assert sampled.percent_sampled is not None
    # The denominator is a hundred by default.
    assert (sampled.percent_sampled.numerator, sampled.percent_sampled.denominator) == (20, 0)


def test_a_listener_is_the_same_but_for_that() -> None:
    plain, told = connection_manager("p"), connection_manager("p", "ours")
    told.access_log = []
    assert bytes(told) == bytes(plain)


def cluster(chosen: matcher_v3.MatcherOnMatch | None) -> str:
    assert chosen is not None
    assert chosen.action is not None
    assert chosen.action.typed_config is not None
    return specifier_v3.ClusterAction.parse(chosen.action.typed_config.value).cluster


def test_requests_of_every_host_go_to_the_pools_cluster() -> None:
    (host,) = decoded_route(a_pool_of(0)).virtual_hosts
    assert host.domains == ["*"]
    assert host.routes[0].name == "p"
    plugin = action().inline_cluster_specifier_plugin
    assert plugin is not None
    assert plugin.extension is not None
    assert plugin.extension.typed_config is not None
    message = specifier_v3.MatcherClusterSpecifier.parse(plugin.extension.typed_config.value)
    matcher = message.cluster_matcher
    assert matcher is not None
    assert matcher.matcher_list is not None
    (further,) = matcher.matcher_list.matchers
    assert [cluster(further.on_match), cluster(matcher.on_no_match)] == ["p/retries", "p"]


def test_requests_are_matched_by_the_pools_prefix() -> None:
    (host,) = decoded_route(a_pool_with(route={"prefix": "/v1/"})).virtual_hosts
    assert host.routes[0].match is not None
    assert host.routes[0].match.prefix == "/v1/"


def test_a_request_takes_as_long_as_the_pool_allows() -> None:
    assert action(route={"timeout": "1.5s"}).timeout == timedelta(seconds=1.5)


@pytest.mark.parametrize("timeout", ["100ms", "60s", "400s", "24h"])
def test_nothing_ends_a_request_before_its_timeout(timeout: str) -> None:
    found = action(route={"timeout": timeout})
    assert found.timeout is not None
    assert found.idle_timeout is not None
    assert found.idle_timeout > found.timeout


def test_a_request_has_as_long_to_arrive_as_its_answer_may_take() -> None:
    manager = connection_manager("p", upload=400.0)
    assert manager.request_timeout == timedelta(seconds=400)


def test_the_headers_of_a_request_have_a_deadline_of_their_own() -> None:
    assert connection_manager("p").request_headers_timeout == timedelta(seconds=10)


def test_a_request_that_waits_is_hedged_only_where_a_pool_says_so() -> None:
    assert action().hedge_policy is None
    found = action(route={"hedge": "2s"})
    assert found.retry_policy is not None
    assert found.retry_policy.per_try_timeout == timedelta(seconds=2)
    assert found.hedge_policy is not None
    assert found.hedge_policy.hedge_on_per_try_timeout
    assert found.retry_policy.num_retries == 3


@pytest.mark.parametrize(
    "cause", ["reset", "connect-failure", "refused-stream", "retriable-headers"]
)
def test_what_a_replica_could_not_answer_is_tried_again(cause: str) -> None:
    assert cause in retries().retry_on.split(",")


def test_no_answer_is_tried_again_that_the_script_did_not_mark() -> None:
    assert [header.name for header in retries().retriable_headers] == [RETRY_HEADER]
    assert retries().retriable_status_codes == []


def test_clients_do_not_see_the_marks() -> None:
    (host,) = decoded_route(a_pool_of(0)).virtual_hosts
    assert host.response_headers_to_remove == [RETRY_HEADER, TRIED]


def test_a_body_is_kept_as_far_as_the_pool_says() -> None:
    (host,) = decoded_route(a_pool_of(0)).virtual_hosts
    assert host.routes[0].request_body_buffer_limit == 32 << 20
    (host,) = decoded_route(a_pool_with(route={"retry_buffer": "512KiB"})).virtual_hosts
    assert host.routes[0].request_body_buffer_limit == 512 << 10


@pytest.mark.parametrize(("buffer", "kept"), [("512KiB", 512 << 10), ("32MiB", 4 << 20)])
def test_an_answer_is_kept_no_longer_than_a_request_may_be(buffer: str, kept: int) -> None:
    (host,) = decoded_route(a_pool_with(route={"retry_buffer": buffer})).virtual_hosts
    metadata = host.routes[0].metadata
    assert metadata is not None
    assert metadata.filter_metadata["envoy.filters.http.lua"].fields[BUFFERED].number_value == kept


def test_a_hedge_is_told_from_another_try() -> None:
    (host,) = decoded_route(a_pool_of(0)).virtual_hosts
    assert host.include_is_timeout_retry_header


def test_a_slow_answer_is_not_asked_for_twice() -> None:
    assert retries().per_try_timeout is None


def test_a_request_is_tried_again_elsewhere() -> None:
    names = [predicate.name for predicate in retries().retry_host_predicate]
    assert names == ["envoy.retry_host_predicates.previous_hosts"]


def test_a_request_is_tried_nine_times_more_at_most() -> None:
    assert retries().num_retries == 9
