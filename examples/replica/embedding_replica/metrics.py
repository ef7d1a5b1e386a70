"""What the server tells Prometheus, under text-embeddings-inference's names.

The names and the buckets' ratio are those of its router/src/prometheus.rs and core/src/infer.rs
(https://github.com/huggingface/text-embeddings-inference). GPU memory it does not report; the two
gauges for that are this example's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from statistics import fmean as mean

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from embedding_replica.engine import Embedded
from embedding_replica.memory import Memory

# Seconds, from 15 µs by half as much again. text-embeddings-inference has 35, up to 14.6 s; a
# replica that stands in for slow hardware needs four more, up to 73.7 s.
BUCKETS = tuple(0.00001 * 1.5**power for power in range(1, 40))

# Texts or tokens of a batch, as there.
SIZES = tuple(float(1 << power) for power in range(21))

_COUNTERS = {
    "te_embed_count": "Texts of embedding requests that were well formed.",
    "te_embed_success": "Texts answered with an embedding.",
    "te_request_count": "Embedding requests that were well formed.",
    "te_request_success": "Embedding requests answered with embeddings.",
    "te_request_failure": "Embedding requests answered with an error.",
}


class Metrics:
    """The counts of one server. Only embedding requests are counted, never probes or scrapes."""

    def __init__(self, *, waiting: Callable[[], int], registry: CollectorRegistry) -> None:
        """Start at nought.

        Args:
            waiting: Tells how many texts wait for a batch.
            registry: A registry of its own.
        """
        # text-embeddings-inference exposes no creation times.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry
        self._counts: Counter[tuple[str, str]] = Counter()
        self._requests = Stages(registry, "request", "embedding requests; means of their texts")
        self._texts = Stages(registry, "embed", "texts")
        self._batch_texts = Histogram(
            "te_batch_next_size", "Texts in a batch.", buckets=SIZES[:13], registry=registry
        )
        self._batch_tokens = Histogram(
            "te_batch_next_tokens", "Tokens in a batch.", buckets=SIZES, registry=registry
        )
        queue = Gauge("te_queue_size", "Texts that wait for a batch.", registry=registry)
        queue.set_function(waiting)
        ProcessCollector(registry=registry)

    def show_gpu(self, uuid: str, memory: Callable[[], Memory]) -> None:
        """Report a GPU's memory, which servers without one do not have.

        Args:
            uuid: The GPU's.
            memory: Tells the state of its memory.
        """
        for name, what, read in (
            ("used", "GPU memory in use.", lambda: memory().used),
            ("total", "GPU memory there is.", lambda: memory().total),
        ):
            gauge = Gauge(
                f"te_gpu_memory_{name}_bytes", what, ["gpu_uuid"], registry=self._registry
            )
            gauge.labels(uuid).set_function(read)

    def batch(self, texts: int, tokens: int) -> None:
        """Count a batch; as there also an empty one, where nothing waited after another."""
        self._batch_texts.observe(texts)
        self._batch_tokens.observe(tokens)

    def arrived(self, method: str, texts: int) -> None:
        """Count a well-formed request; method is ``single`` or ``batch``."""
        self._counts["te_request_count", f'method="{method}"'] += 1
        self._counts["te_embed_count", ""] += texts

    def succeeded(self, method: str, seconds: float, done: Embedded) -> None:
        """Count an answered request and how long it took, all in all, in seconds."""
        self._counts["te_request_success", f'method="{method}"'] += 1
        self._counts["te_embed_success", ""] += len(done.vectors)
        self._requests.observe(seconds, mean(done.queued), done.tokenised, mean(done.inferred))
        # Each text is charged the whole of the batch it was in.
        for queued, inferred in zip(done.queued, done.inferred, strict=True):
            self._texts.observe(seconds, queued, done.tokenised, inferred)

    def failed(self, reason: str) -> None:
        """Count a request that got an error, by text-embeddings-inference's name for why."""
        self._counts["te_request_failure", f'err="{reason}"'] += 1

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format 0.0.4."""
        # prometheus_client would append _total to a counter's name, which these do not have.
        lines = []
        for name, what in _COUNTERS.items():
            lines += [f"# HELP {name} {what}", f"# TYPE {name} counter"]
            for (counter, label), count in sorted(self._counts.items()):
                if counter == name:
                    lines.append(f"{name}{{{label}}} {count}" if label else f"{name} {count}")
        return "\n".join([*lines, ""]).encode() + generate_latest(self._registry)


class Stages:
    """How long something took, all in all and in each stage, in histograms."""

    def __init__(self, registry: CollectorRegistry, of: str, what: str) -> None:
        """Start empty."""
        stages = ("", "queue_", "tokenization_", "inference_")
        self._histograms = [
            Histogram(
                f"te_{of}_{stage}duration",
                f"Seconds, of {what} that succeeded.",
                buckets=BUCKETS,
                registry=registry,
            )
            for stage in stages
        ]

    def observe(self, *seconds: float) -> None:
        """Count one: in all, waiting for a batch, tokenising, and the time of the batch."""
        for histogram, value in zip(self._histograms, seconds, strict=True):
            histogram.observe(value)
