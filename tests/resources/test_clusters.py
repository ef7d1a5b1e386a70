"""What a pool's cluster tells Envoy about choosing, checking and ejecting hosts."""

import re
from datetime import timedelta

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.extensions.load_balancing_policies.least_request.v3 as least_request_v3  # noqa: E501 - a module's name has no shorter form
import envoy_data_plane.envoy.extensions.upstreams.http.v3 as http_v3
import pytest

from controlplane.resources.clusters import CHOICES, FULL_SCAN_HOSTS, cluster, retry_cluster
from tests.resources.decoded import a_pool_of, a_pool_with, decoded_cluster, least_request

METHOD = least_request_v3.LeastRequestSelectionMethod


def outlier_detection() -> cluster_v3.OutlierDetection:
    found = decoded_cluster(a_pool_of(1)).outlier_detection
    assert found is not None
    return found


def common_lb() -> cluster_v3.ClusterCommonLbConfig:
    found = decoded_cluster(a_pool_of(1)).common_lb_config
    assert found is not None
    return found


def test_a_cluster_gets_its_endpoints_over_the_same_stream() -> None:
    eds = decoded_cluster(a_pool_of(1)).eds_cluster_config
    assert eds is not None
    assert eds.eds_config is not None
    assert eds.eds_config.ads is not None


def test_a_cluster_is_of_the_endpoint_discovery_type() -> None:
    assert decoded_cluster(a_pool_of(1)).type == cluster_v3.ClusterDiscoveryType.EDS


@pytest.mark.parametrize("count", [0, 1, FULL_SCAN_HOSTS])
def test_up_to_64_replicas_envoy_looks_at_each(count: int) -> None:
    assert least_request(a_pool_of(count)).selection_method == METHOD.FULL_SCAN


def test_above_64_replicas_envoy_compares_a_few() -> None:
    policy = least_request(a_pool_of(FULL_SCAN_HOSTS + 1))
    assert (policy.selection_method, policy.choice_count) == (METHOD.N_CHOICES, CHOICES)


def test_a_cluster_does_not_change_when_replicas_come() -> None:
    assert cluster(a_pool_of(0)) == cluster(a_pool_of(FULL_SCAN_HOSTS))


@pytest.mark.parametrize("count", [1, FULL_SCAN_HOSTS + 1])
def test_localities_share_the_traffic_by_weight(count: int) -> None:
    config = least_request(a_pool_of(count)).locality_lb_config
    assert config is not None
    assert config.locality_weighted_lb_config is not None


def test_the_active_request_bias_is_left_alone() -> None:
    assert least_request(a_pool_of(1)).active_request_bias is None


def test_updates_are_merged_for_a_tenth_of_a_second() -> None:
    assert common_lb().update_merge_window == timedelta(milliseconds=100)


def test_a_new_replica_gets_nothing_until_its_first_check() -> None:
    assert common_lb().ignore_new_hosts_until_first_hc is True


@pytest.mark.parametrize("count", [1, 64, 100, 300])
def test_one_healthy_replica_of_a_hundred_is_not_below_the_panic_threshold(count: int) -> None:
    found = decoded_cluster(a_pool_of(count)).common_lb_config
    assert found is not None
    assert found.healthy_panic_threshold is not None
    # At 0 a pool of which all look dead would get nothing.
    assert found.healthy_panic_threshold.value == 1.0


def test_a_removed_replica_is_gone_however_healthy() -> None:
    assert decoded_cluster(a_pool_of(1)).ignore_health_on_host_removal is True


@pytest.mark.parametrize(
    "field", ["interval", "no_traffic_interval", "no_traffic_healthy_interval"]
)
def test_a_health_check_keeps_its_interval_with_and_without_traffic(field: str) -> None:
    (check,) = decoded_cluster(a_pool_with(health_check={"interval": "1.5s"})).health_checks
    assert getattr(check, field) == timedelta(seconds=1.5)


def test_a_health_check_asks_for_the_pools_path_in_the_pools_time() -> None:
    pool = a_pool_with(health_check={"path": "/ready?model=1", "timeout": "250ms"})
    (check,) = decoded_cluster(pool).health_checks
    assert check.http_health_check is not None
    assert check.http_health_check.path == "/ready?model=1"
    assert check.timeout == timedelta(milliseconds=250)


def test_a_static_health_endpoint_does_not_bring_back_an_ejected_host() -> None:
    assert outlier_detection().successful_active_health_check_uneject_host is False


def test_a_small_pool_can_lose_its_broken_replica() -> None:
    assert outlier_detection().always_eject_one_host is True


def test_more_than_envoys_tenth_but_less_than_half_of_a_pool_is_ejected() -> None:
    percent = outlier_detection().max_ejection_percent
    assert percent is not None
    assert 10 < percent < 50


def test_a_replica_that_fails_every_second_request_is_ejected_whatever_the_others_do() -> None:
    found = outlier_detection()
    assert found.failure_percentage_threshold is not None
    assert 10 < found.failure_percentage_threshold < 50
    # In a sidecar that sees a sliver of the traffic no other replica may have enough requests.
    assert found.failure_percentage_minimum_hosts == 1
    assert found.enforcing_failure_percentage == 100


def test_a_replica_whose_answers_are_all_cut_off_is_ejected() -> None:
    # Envoy counts their connections as successes, so half of what it counts has failed.
    found = outlier_detection()
    assert found.enforcing_failure_percentage_local_origin == 100
    assert found.split_external_local_origin_errors


def test_a_replica_is_not_compared_with_the_mean_of_others() -> None:
    found = outlier_detection()
    assert found.enforcing_success_rate == found.enforcing_local_origin_success_rate == 0


UVICORN, GUNICORN = 5.0, 2.0
"""Seconds for which they keep a connection without a request."""


def test_a_connection_is_given_up_before_the_server_closes_it() -> None:
    options = decoded_cluster(a_pool_of(1)).typed_extension_protocol_options
    (packed,) = options.values()
    common = http_v3.HttpProtocolOptions.parse(packed.value).common_http_protocol_options
    assert common is not None
    assert common.idle_timeout is not None
    assert common.idle_timeout.total_seconds() < min(UVICORN, GUNICORN)


def test_a_machine_that_is_gone_is_noticed_on_a_connection_that_waits() -> None:
    options = decoded_cluster(a_pool_of(1)).upstream_connection_options
    assert options is not None
    found = options.tcp_keepalive
    assert found is not None
    seconds = [found.keepalive_time, found.keepalive_interval, found.keepalive_probes]
    after, apart, probes = (each or 0 for each in seconds)
    assert 0 < after + apart * probes < 10


@pytest.mark.parametrize(
    ("check", "seconds"),
    [({}, 4.0), ({"interval": "100ms", "timeout": "100ms"}, 4.0), ({"timeout": "30s"}, 62.0)],
)
def test_a_machine_that_takes_nothing_is_gone_when_its_health_check_says_so(
    check: dict[str, str], seconds: float
) -> None:
    bound = decoded_cluster(a_pool_with(health_check=check)).upstream_bind_config
    assert bound is not None
    (option,) = bound.socket_options
    # TCP_USER_TIMEOUT, in milliseconds.
    assert (option.level, option.name, option.int_value) == (6, 18, 1000 * seconds)


def test_a_replica_that_refuses_connections_is_ejected_for_it() -> None:
    found = outlier_detection()
    assert found.split_external_local_origin_errors
    assert found.consecutive_local_origin_failure == 3


def retries() -> cluster_v3.Cluster:
    return cluster_v3.Cluster.parse(retry_cluster(a_pool_of(1), "p"))


def http_options(of: cluster_v3.Cluster) -> http_v3.HttpProtocolOptions:
    (packed,) = of.typed_extension_protocol_options.values()
    return http_v3.HttpProtocolOptions.parse(packed.value)


def test_retries_have_a_cluster_of_the_same_endpoints() -> None:
    found = retries()
    assert found.name == "p/retries"
    assert found.eds_cluster_config is not None
    assert found.eds_cluster_config.service_name == "p"


def test_each_retry_has_a_connection_of_its_own() -> None:
    common = http_options(retries()).common_http_protocol_options
    assert common is not None
    assert common.max_requests_per_connection == 1


def test_retries_do_not_go_to_the_replica_with_the_fewest_requests_which_may_be_dead() -> None:
    policy = retries().load_balancing_policy
    assert policy is not None
    (only,) = policy.policies
    assert only.typed_extension_config is not None
    assert only.typed_extension_config.name == "envoy.load_balancing_policies.round_robin"


def test_a_replica_that_a_retry_could_not_reach_gets_no_other() -> None:
    found = retries().outlier_detection
    assert found is not None
    assert (found.consecutive_local_origin_failure, found.max_ejection_percent) == (1, 100)


@pytest.mark.parametrize(
    ("name", "status", "well"),
    [
        *[(":status", status, "404") for status in ("429", "500", "503")],
        # RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE; and INVALID_ARGUMENT.
        *[("grpc-status", status, "3") for status in ("8", "13", "14")],
    ],
)
def test_refusals_count_against_a_replica_as_errors_do(name: str, status: str, well: str) -> None:
    for of in (decoded_cluster(a_pool_of(1)), retries()):
        outliers = http_options(of).outlier_detection
        assert outliers is not None
        assert outliers.error_matcher is not None
        assert outliers.error_matcher.or_match is not None
        matches = [
            rule.http_response_headers_match for rule in outliers.error_matcher.or_match.rules
        ]
        regexes = {
            header.name: header.string_match.safe_regex.regex
            for match in matches
            if match is not None
            for header in match.headers
            if header.string_match is not None and header.string_match.safe_regex is not None
        }
        assert re.fullmatch(regexes[name], status)
        assert not re.fullmatch(regexes[name], well)


@pytest.mark.parametrize(
    "limit", ["max_connections", "max_pending_requests", "max_requests", "max_retries"]
)
def test_no_circuit_breaker_trips_at_envoys_default(limit: str) -> None:
    breakers = decoded_cluster(a_pool_of(1)).circuit_breakers
    assert breakers is not None
    assert getattr(breakers.thresholds[0], limit) > 100_000
