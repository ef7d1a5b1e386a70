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
    """Two texts, of which one was in a batch after the other's."""
    vectors = np.ones((2, 1), np.float32)
    return Embedded(vectors, tokens=7, tokenised=0.25, queued=(0.5, 1.5), inferred=(1, 2))


def test_a_success_is_observed_in_each_histogram(metrics: Metrics, seen: Seen) -> None:
    metrics.arrived("batch", 2)
    metrics.succeeded("batch", 4, answered())
    now = seen()
    assert now["te_request_count,batch"] == 1
    assert now["te_request_success,batch"] == 1
    assert now["te_request_duration_count"] == 1
    assert now["te_request_duration_sum"] == 4
    assert now["te_request_tokenization_duration_sum"] == 0.25


def test_a_request_took_the_mean_of_its_texts_and_each_text_the_whole_of_its_batch(
    metrics: Metrics, seen: Seen
) -> None:
    metrics.arrived("batch", 2)
    metrics.succeeded("batch", 4, answered())
    now = seen()
    assert now["te_request_queue_duration_sum"] == 1
    assert now["te_request_inference_duration_sum"] == 1.5
    assert now["te_embed_queue_duration_sum"] == 2
    assert now["te_embed_inference_duration_sum"] == 3
    assert now["te_embed_duration_sum"] == 8
    assert now["te_embed_count"] == now["te_embed_success"] == 2


def test_batches_are_counted_and_so_are_empty_ones(metrics: Metrics, seen: Seen) -> None:
    metrics.batch(3, 40)
    metrics.batch(0, 0)
    now = seen()
    assert now["te_batch_next_size_sum"] == 3
    assert now["te_batch_next_tokens_sum"] == 40
    assert now["te_batch_next_tokens_count"] == 2
    assert now["te_batch_next_tokens_bucket,1.0"] == 1


def test_a_failure_is_counted_and_has_no_duration(metrics: Metrics, seen: Seen) -> None:
    metrics.arrived("batch", 2)
    metrics.failed("inference")
    now = seen()
    assert now["te_request_failure,inference"] == 1
    assert now["te_request_duration_count"] == 0
    assert "te_request_success,batch" not in now


def test_counters_are_typed_as_such_and_have_no_suffix(metrics: Metrics) -> None:
    metrics.arrived("single", 1)
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
