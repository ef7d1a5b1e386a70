"""What Envoys are sent so that they send spans and records: a cluster, and parts of listeners."""

from typing import Any

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.trace.v3 as trace_v3
import envoy_data_plane.envoy.extensions.tracers.opentelemetry.samplers.v3 as samplers_v3
import envoy_data_plane.google.protobuf as protobuf
import pytest

from controlplane.config import Address, OtlpSettings, validated
from controlplane.resources.catalog import Catalog, build, guarded
from controlplane.resources.listeners import COLLECTOR, collector
from controlplane.resources.resource import CLUSTER, LISTENER
from controlplane.resources.views import View
from tests.resources.decoded import TIER, connection_manager, placed

LISTEN = Address("127.0.0.1", 10_001)
VIEWS = {
    "sidecar": View(),
    "gateway": View(gateway=LISTEN),
    "ingress": View(pools=("p",), listen=(("p", LISTEN),), replica=Address("127.0.0.1", 9000)),
}


def otlp(**more: Any) -> OtlpSettings:
    return validated(OtlpSettings, {"address": "10.0.0.9:4317", **more})


def catalog(settings: OtlpSettings | None) -> Catalog:
    fleet, endpoint_weights = placed(a=TIER)
    return build(fleet, {"p": endpoint_weights}, Catalog(otlp=settings))


@pytest.mark.parametrize("kind", VIEWS)
def test_every_envoy_has_the_cluster_of_the_collector_only_if_there_is_one(kind: str) -> None:
    with_it, without = catalog(otlp()).view(VIEWS[kind]), catalog(None).view(VIEWS[kind])
    assert with_it.get(CLUSTER, COLLECTOR) == collector(otlp())
    assert {*with_it.names(CLUSTER)} - {*without.names(CLUSTER)} == {COLLECTOR}
    assert without.get(CLUSTER, COLLECTOR) is None
    (name,) = without.names(LISTENER)
    told, silent = (item.get(LISTENER, name) for item in (with_it, without))
    assert told is not None
    assert silent is not None
    assert b"envoy.tracers.opentelemetry" in told.packed
    assert b"opentelemetry" not in silent.packed


def test_a_grpc_client_has_no_collector() -> None:
    view = View(is_grpc=True)
    with_it, without = catalog(otlp()).view(view), catalog(None).view(view)
    assert {*with_it.names(CLUSTER)} == {*without.names(CLUSTER)}
    assert with_it.get(CLUSTER, COLLECTOR) is None
    assert with_it.get(LISTENER, "p") == without.get(LISTENER, "p")


@pytest.mark.parametrize("kind", VIEWS)
def test_the_collector_is_told_of_also_while_pools_are_not(kind: str) -> None:
    recovering = guarded(catalog(otlp()), frozenset())
    view = recovering.view(VIEWS[kind])
    assert view.keeps(CLUSTER, "p", None)
    assert not view.keeps(CLUSTER, COLLECTOR, None)
    assert view.get(CLUSTER, COLLECTOR) is not None


def test_a_collector_with_a_name_is_looked_up_by_envoys() -> None:
    kinds = cluster_v3.ClusterDiscoveryType
    for address, kind in (("10.0.0.9:1", kinds.STATIC), ("otel.local:1", kinds.STRICT_DNS)):
        packed = collector(otlp(address=address)).packed
        message = cluster_v3.Cluster.parse(protobuf.Any.parse(packed).value)
        assert message.type == kind


@pytest.mark.parametrize(("part", "in_ten_thousand"), [("1%", 100), ("0.07%", 7), ("100%", 10_000)])
def test_so_many_of_the_requests_without_a_trace_get_one(part: str, in_ten_thousand: int) -> None:
    tracing = connection_manager("p", otlp=otlp(sampling=part)).tracing
    assert tracing is not None
    assert tracing.provider is not None
    assert tracing.provider.typed_config is not None
    config = trace_v3.OpenTelemetryConfig.parse(tracing.provider.typed_config.value)
    assert config.sampler is not None
    assert config.sampler.typed_config is not None
    parent = samplers_v3.ParentBasedSamplerConfig.parse(config.sampler.typed_config.value)
    assert parent.wrapped_sampler is not None
    assert parent.wrapped_sampler.typed_config is not None
    drawn = samplers_v3.TraceIdRatioBasedSamplerConfig.parse(
        parent.wrapped_sampler.typed_config.value
    )
    assert drawn.sampling_percentage is not None
    assert drawn.sampling_percentage.numerator == in_ten_thousand


def test_records_are_sent_only_where_that_is_asked_for() -> None:
    assert connection_manager("p", otlp=otlp()).access_log == []
    (log,) = connection_manager("p", otlp=otlp(access_log=True)).access_log
    assert log.name == "envoy.access_loggers.open_telemetry"
