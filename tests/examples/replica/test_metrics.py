"""The exposition has text-embeddings-inference's names, exactly."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from embedding_replica.engine import Embedded
from embedding_replica.memory import Memory
from embedding_replica.metrics import BUCKETS, Metrics

Samples = Callable[[str], dict[str, float]]
Seen = Callable[[], dict[str, float]]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(waiting=lambda: 3, registry=CollectorRegistry())


@pytest.fixture
def seen(metrics: Metrics, samples: Samples) -> Callable[[], dict[str, float]]:
    return lambda: samples(metrics.exposition().decode())


def answered() -> Embedded:
    return Embedded(np.ones((1, 1), np.float32), tokens=7, queued=0.5, tokenised=0.25, inferred=1)


def test_a_success_is_observed_in_each_histogram(metrics: Metrics, seen: Seen) -> None:
    metrics.arrived("single")
    metrics.succeeded("single", 2, answered())
    now = seen()
    assert now["te_request_count,single"] == 1
    assert now["te_request_success,single"] == 1
    assert now["te_request_duration_count"] == 1
    assert now["te_request_duration_sum"] == 2
    assert now["te_request_queue_duration_sum"] == 0.5
    assert now["te_request_tokenization_duration_sum"] == 0.25
    assert now["te_request_inference_duration_sum"] == 1
    assert now["te_batch_next_tokens_sum"] == 7
    assert now["te_batch_next_size_sum"] == 1


def test_a_failure_is_counted_and_has_no_duration(metrics: Metrics, seen: Seen) -> None:
    metrics.arrived("batch")
    metrics.failed("inference")
    now = seen()
    assert now["te_request_failure,inference"] == 1
    assert now["te_request_duration_count"] == 0
    assert "te_request_success,batch" not in now


def test_counters_are_typed_as_such_and_have_no_suffix(metrics: Metrics) -> None:
    metrics.arrived("single")
    lines = metrics.exposition().decode().splitlines()
    assert "# TYPE te_request_count counter" in lines
    assert 'te_request_count{method="single"} 1' in lines
    te_names = {line.split("{")[0].split()[0] for line in lines if line.startswith("te_")}
    assert not [name for name in te_names if name.endswith(("_total", "_created"))]


def test_buckets_grow_by_half_from_15_microseconds_past_a_minute() -> None:
    assert BUCKETS[0] == pytest.approx(15e-6)
    assert all(b / a == pytest.approx(1.5) for a, b in pairwise(BUCKETS))
    assert BUCKETS[-1] > 60


def test_the_queue_and_the_start_of_the_process_are_told(seen: Seen) -> None:
    now = seen()
    assert now["te_queue_size"] == 3
    assert now["process_start_time_seconds"] > 0


def test_gpu_memory_is_told_only_of_a_server_that_has_a_gpu(metrics: Metrics, seen: Seen) -> None:
    assert b"gpu" not in metrics.exposition()
    metrics.show_gpu("GPU-7", lambda: Memory(total=100, weights=40, reserved=5))
    now = seen()
    assert now["te_gpu_memory_used_bytes,GPU-7"] == 45
    assert now["te_gpu_memory_total_bytes,GPU-7"] == 100
