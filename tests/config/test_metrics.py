"""A pool's metrics: which profile, which families, and where they are by default."""

import pytest

from controlplane.config import Config
from tests.config.files import POOL, load, refusal_in_pool


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "metrics: {profile: tei, queue: {family: q}}",
            "metrics: queue is known for profile tei: leave it out, or choose profile prometheus",
        ),
        (
            "metrics: {profile: prometheus}",
            "metrics: profile prometheus needs latency: {family: …, unit: s}, the histogram of"
            " request durations",
        ),
        (
            "metrics: {profile: prometheus, latency: {family: l, unit: bytes}}",
            "metrics.latency.unit: 'bytes' is not one of 's', 'ms' or 'us'",
        ),
        (
            "metrics: {profile: prometheus, latency: {family: l, unit: s},"
            " memory_used: {family: m}}",
            "metrics: memory_used and memory_total go together, unless memory_used is a fraction",
        ),
        (
            "metrics: {profile: prometheus, latency: {family: l},"
            " memory_used: {family: m, unit: percent}, memory_total: {family: t}}",
            "metrics: memory_used is a fraction already: leave out memory_total",
        ),
        (
            "metrics: {profile: prometheus, latency: {family: l},"
            " memory_used: {family: m, unit: s}}",
            "metrics.memory_used.unit: 's' is not one of 'bytes', 'KiB', 'MiB', 'GiB', 'fraction'"
            " or 'percent'",
        ),
        (
            "metrics: {profile: prometheus, latency: {family: l}, queue: {family: q, unit: s}}",
            "metrics.queue.unit: 's' is not one of 'requests' or 'texts'",
        ),
        (
            "metrics: {profile: prometheus, latency: {family: l}, queue: {family: q, unit: texts},"
            " running: {family: r}}",
            "metrics: queue and running must have the same unit: requests or texts",
        ),
        (
            "metrics: {profile: prometheus, latency: {family: l, kind: counters}}",
            "metrics.latency: kind counters and count go together: family is the counter of the"
            " total duration, count that of the requests",
        ),
        (
            "metrics: {profile: prometheus, latency: {family: l, count: n}}",
            "metrics.latency: kind counters and count go together: family is the counter of the"
            " total duration, count that of the requests",
        ),
        (
            "metrics: {profile: prometheus, latency: {family: l}, labels: {a: b}}",
            "metrics: with profile prometheus each family has labels of its own",
        ),
        (
            "metrics: {profile: none, labels: {a: b}}",
            "metrics: labels is not read for profile none: leave it out, or choose profile"
            " prometheus",
        ),
        (
            "metrics: {profile: orca}",
            "metrics.profile: orca reports come with a response, or on a stream to a proxy, and"
            " cannot be scraped: choose the profile of what the server exposes to Prometheus, or"
            " none",
        ),
        (
            "metrics: {profile: dcgm}",
            "metrics.profile: dcgm describes GPUs, not replicas: choose the profile of the"
            ' server, and gpu: {profile: dcgm, addresses: ["127.0.0.1:9400"]} beside it',
        ),
        (
            "metrics: {gpu: {addresses: ['http://10.0.0.1:9400/metrics']}}",
            "metrics.gpu.addresses[0]: 'http://10.0.0.1:9400/metrics' is not \"host:port\": leave"
            " out the scheme and the path",
        ),
        (
            "metrics: {gpu: {addresses: ['169.254.169.254:80']}}",
            "metrics.gpu.addresses[0]: 169.254.169.254 is link-local: cloud metadata lives there,"
            " not replicas",
        ),
        ("metrics: {gpu: {}}", "metrics.gpu.addresses: is required and missing"),
        ("metrics: {port: 0}", "metrics.port: must be at least 1, not 0"),
    ],
)
def test_wrong_metrics_are_named_with_their_key_and_what_would_be_right(
    line: str, sentence: str
) -> None:
    said = refusal_in_pool(line)
    assert said.startswith(f"plimsoll.yaml:5: pools[0].{sentence}")
    assert said.isprintable()


@pytest.mark.parametrize(
    ("metrics", "health", "where"),
    [
        ("{}", "/health", "/metrics"),
        ("{profile: triton}", "/v2/health/ready", "8002 /metrics"),
        ("{profile: triton, port: 9, path: /m}", "/v2/health/ready", "9 /m"),
        ("{profile: nim}", "/v1/health/ready", "/v1/metrics"),
        ("{profile: bentoml}\n    health_check: {interval: 2s}", "/readyz", "/metrics"),
        ("{profile: bentoml}\n    health_check: {path: /mine}", "/mine", "/metrics"),
    ],
)
def test_a_pool_that_does_not_say_is_asked_where_its_server_answers(
    metrics: str, health: str, where: str
) -> None:
    pool = load(f"{POOL}    metrics: {metrics}\n").pools[0]
    port = f"{pool.metrics.port} " if pool.metrics.port else ""
    assert (pool.health_check.path, f"{port}{pool.metrics.path}") == (health, where)


def test_what_a_pool_with_its_servers_defaults_prints_means_the_same() -> None:
    pool = load(f"{POOL}    metrics: {{profile: triton, gpu: {{addresses: ['10.0.0.1:9']}}}}\n")
    assert Config.model_validate(pool.model_dump(mode="json")) == pool
