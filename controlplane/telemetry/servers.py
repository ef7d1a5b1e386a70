"""The servers whose families are known, as data: one is added by adding an entry.

Above each stands where its names were read; where a server counts several things that would do,
why this one.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from controlplane.config import MetricsSettings
from controlplane.telemetry.profile import (
    BatchFamilies,
    Latency,
    Memory,
    Profile,
    Source,
    declared,
)

_CACHED_PROFILES: Final = 1_024
"""Pools that choose or spell out one of their own."""

_TRITON: Final = Latency(
    Source("nv_inference_request_duration_us", "us"), "counters", "nv_inference_request_success"
)

_RANKS: Final = ("tp_rank", "pp_rank", "moe_ep_rank", "moe_dp_rank", "attn_tp_rank", "attn_cp_rank")
"""Labels of the processes that compute one batch together; `dp_rank` tells engines apart."""

_KINDS: Final = ("embed", "predict")
"""Methods of text-embeddings-inference."""

_CLIENT: Final = ("batch_size", "missing_values", "model_type", "tokenization", "validation")
"""What text-embeddings-inference calls requests that it answers with 4xx: as sent they can never
succeed. Those that are `overloaded`, `inference` or `dropped` are its own."""

_CLIENT_STATUS: Final = (
    *("ALREADY_EXISTS", "CANCELLED", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND"),
    *("OK", "OUT_OF_RANGE", "PERMISSION_DENIED", "UNAUTHENTICATED"),
)
"""Statuses that say nothing of the server, as gRPC defines them (google/rpc/code.proto)."""

_REQUESTS: Final = tuple(("endpoint", f"!/{path}") for path in ("healthz", "livez", "readyz"))


def _seconds(family: str, *labels: tuple[str, str]) -> Latency:
    return Latency(Source(family, "s", labels))


def _memory(family: str, gpu_label: str = "gpu_uuid", *, is_uuid: bool = True) -> Memory:
    used, total = (Source(f"{family}_{which}_bytes", "bytes") for which in ("used", "total"))
    return Memory(used, (total,), gpu_label, is_uuid)


Naming = Callable[[str], Source]
"""Makes the source of a family of vLLM's engine, whose names other servers have taken over."""


def _of_engine(naming: Naming, name: str, **more: Any) -> Profile:
    """A server with families as vLLM's engine has them. All that it counts is texts."""
    known: dict[str, Any] = {
        "latency": (Latency(replace(naming("e2e_request_latency_seconds"), unit="s")),),
        "queue": naming("num_requests_waiting"),
        "running": naming("num_requests_running"),
        "tokens": naming("prompt_tokens_total"),
        "queue_unit": "texts",
        "model_label": "model_name",
    }
    return Profile(name=name, **(known | more))


def _batches_of_engine(naming: Naming) -> BatchFamilies:
    return BatchFamilies(
        tokens=naming("iteration_tokens_total"),
        texts=(naming("e2e_request_latency_seconds_count"),),
    )


def _of_vllm(name: str) -> Source:
    return Source(f"vllm:{name}")


def _of_ray(name: str) -> Source:
    return Source(f"ray_vllm:{name}", others=(f"ray_vllm_{name}",))


def _of_sglang(name: str, **labels: str) -> Source:
    others = (f"sglang_{name}", f"ray_sglang_{name}")
    return Source(f"sglang:{name}", "", tuple(labels.items()), others, copies=_RANKS)


def _of_bentoml(name: str, *labels: tuple[str, str], unit: str = "") -> Source:
    others = (f"bentoml_api_server_request_{name}",)
    return Source(f"bentoml_service_request_{name}", unit, (*labels, *_REQUESTS), others)


_PROFILES: Final = (
    # huggingface/text-embeddings-inference: router/src/lib.rs, core/src/infer.rs, and the 35
    # buckets, times 1.5 from 15 µs, in router/src/prometheus.rs. The server itself exposes no GPU
    # memory; our example replica does, under these names.
    Profile(
        name="tei",
        latency=(_seconds("te_request_duration"),),
        memory=_memory("te_gpu_memory"),
        queue=Source("te_queue_size"),
        # Each place that counts one is followed by the answer: router/src/http/server.rs,
        # router/src/grpc/server.rs, core/src/infer.rs.
        errors=Source("te_request_failure").without("err", _CLIENT),
        # Of each batch that it computes (core/src/queue.rs); its sum grows like a counter.
        tokens=Source("te_batch_next_tokens_sum"),
        # The same, recorded as a batch leaves the queue, and for each poll that finds it empty.
        # Each text bills the whole time of its batch when that is over (core/src/infer.rs,
        # `backend_task` and what reads its metadata); a server has one kind of model.
        batches=BatchFamilies(
            tokens=Source("te_batch_next_tokens"),
            sizes=Source("te_batch_next_size"),
            texts=tuple(Source(f"te_{kind}_inference_duration_count") for kind in _KINDS),
            seconds=tuple(Source(f"te_{kind}_inference_duration_sum", "s") for kind in _KINDS),
        ),
        # An entry for each input of a request (core/src/queue.rs).
        queue_unit="texts",
    ),
    # michaelfeil/infinity: libs/infinity_emb/infinity_emb/infinity_server.py, which takes
    # trallnag/prometheus-fastapi-instrumentator as it comes (metrics.py there). The histogram with
    # more buckets has no label and counts /health and /metrics too, which would make a replica the
    # faster the more sidecars ask for its health; this one has three buckets and the handler.
    Profile(
        name="infinity",
        latency=(_seconds("http_request_duration_seconds", ("handler", "*/embeddings")),),
        errors=Source("http_requests_total", "", (("handler", "*/embeddings"), ("status", "5*"))),
    ),
    # vllm-project/vllm: vllm/v1/metrics/loggers.py. Its first bucket ends at 0.3 s.
    # vllm:kv_cache_usage_perc is the share of the cache in use and says nothing of the device.
    _of_engine(
        _of_vllm,
        name="vllm",
        # Of each step with output (`record` there): the prompts that it ended, which is all of a
        # step unless a prompt is longer than one. The time of a step is not exposed. Each text of a
        # request is one of the engine (vllm/entrypoints/pooling and vllm/v1/engine/async_llm.py).
        batches=_batches_of_engine(_of_vllm),
    ),
    # sgl-project/sglang: python/sglang/srt/observability/metrics_collector.py (before:
    # srt/metrics/collector.py), with --enable-metrics. Some releases write sglang_ (#15758), and
    # Ray Serve LLM writes ray_sglang_ (ray_wrappers.py beside it).
    # sglang:token_usage is the share of the cache in use and says nothing of the device.
    _of_engine(
        # Each scheduler of an engine tells of the engine's whole queue, all of them with
        # --enable-metrics-for-all-schedulers. Each text of a request goes to the scheduler alone
        # (`_handle_batch_request` in python/sglang/srt/managers/tokenizer_manager.py).
        _of_sglang,
        name="sglang",
        # With --enable-priority-scheduling the total has an empty priority, and stands beside its
        # parts (`_log_gauge_queue_count` there).
        queue=_of_sglang("num_queue_reqs", priority=""),
        running=_of_sglang("num_running_reqs", priority=""),
        # Its processes share files, which have what was counted once (prometheus_client).
        is_lazy=True,
    ),
    # triton-inference-server/server: docs/user_guide/metrics.md; core: src/metrics.cc. Counters
    # are on by default, summaries (nv_inference_request_summary_us) are not and say no more here.
    Profile(
        name="triton",
        latency=(_TRITON,),
        memory=_memory("nv_gpu_memory"),
        queue=Source("nv_inference_pending_request_count"),
        errors=Source("nv_inference_request_failure").without("reason", ("CANCELED",)),
        # core: src/infer_stats.cc. An execution counts once; each request of it counts its texts
        # and bills the whole time of it in the model (`UpdateSuccessWithDuration`), the latter once
        # for all of its texts. With a response cache requests count as well that bill nothing.
        batches=BatchFamilies(
            count=Source("nv_inference_exec_count"),
            texts=(Source("nv_inference_count"),),
            seconds=(Source("nv_inference_compute_infer_duration_us", "us"),),
            billed=(Source("nv_inference_request_success"),),
        ),
        # An ensemble counts for itself and for its steps (src/ensemble_scheduler).
        model_label="model",
        is_layered=True,
    ),
    # https://docs.nvidia.com/nim/large-language-models/latest/observability.html has the first
    # latency, the queue and the GPUs; releases on vLLM and on Triton expose theirs as it comes.
    _of_engine(
        Source,
        name="nim",
        latency=(
            _seconds("e2e_request_latency_seconds"),
            _seconds("vllm:e2e_request_latency_seconds"),
            _TRITON,
        ),
        memory=_memory("gpu_memory", "device_id", is_uuid=False),
        model_label="",
    ),
    # openvinotoolkit/model_server: docs/metrics.md, and 33 buckets, times 1.8 from 10 µs, in
    # src/model_metric_reporter.cpp. /v3/embeddings is a MediaPipe graph, of which only the first
    # is counted; the second counts requests for a model or a DAG.
    Profile(
        name="ovms",
        latency=(
            Latency(Source("ovms_graph_processing_time_us", "us")),
            Latency(Source("ovms_request_time_us", "us")),
        ),
        running=Source("ovms_current_graphs"),
        errors=Source("ovms_graph_error"),
        model_label="name",
    ),
    # xorbitsai/inference: xinference/core/metrics.py, monitor/metrics/README.md. The worker's
    # memory is that of the device, the model's only of one process on it. Failed requests are
    # among the durations (xinference/core/model.py).
    Profile(
        name="xinference",
        latency=(_seconds("xinference:model_request_duration_seconds"),),
        memory=_memory("xinference:worker_gpu_memory", "gpu_index", is_uuid=False),
        running=Source("xinference:model_serve_count"),
        errors=Source("xinference:model_request_errors_total"),
    ),
    # ray-project/ray: python/ray/serve/_private/replica.py and router.py, and the buckets from 1 ms
    # in constants.py; doc/source/serve/monitoring.md. A node exposes all that run on it, so there
    # is no one start. The other names are those that ray-project/ray#43063 and #61090 announce.
    # The ingress of an application counts each request, and each deployment behind it once more.
    Profile(
        name="ray-serve",
        latency=(
            Latency(
                Source(
                    "ray_serve_deployment_processing_latency_ms",
                    "ms",
                    others=("ray_serve_replica_request_latency_ms",),
                )
            ),
        ),
        queue=Source(
            "ray_serve_deployment_queued_queries",
            others=("ray_serve_router_num_queued_requests", "ray_serve_handle_queued_requests"),
        ),
        running=Source(
            "ray_serve_replica_processing_queries",
            others=("ray_serve_replica_num_ongoing_requests", "ray_serve_replica_ongoing_requests"),
        ),
        errors=Source(
            "ray_serve_deployment_error_counter", others=("ray_serve_replica_error_counter",)
        ),
        started=None,
        model_label="deployment",
        is_layered=True,
        entry_label="route",
        is_lazy=True,
    ),
    # ray-project/ray: python/ray/llm (serve/engines/vllm), which has vLLM record through
    # vllm/v1/metrics/ray_wrappers.py: its names with Ray's prefix, from 2.53 on without a colon.
    _of_engine(
        _of_ray, name="ray-llm", batches=_batches_of_engine(_of_ray), started=None, is_lazy=True
    ),
    # bentoml/BentoML: src/bentoml/_internal/server/http/instruments.py; namespace bentoml_service
    # in src/_bentoml_impl, bentoml_api_server for a Service of 1.0 and 1.1. Health checks are
    # counted like requests, under their own endpoint. Services that a Service depends on share its
    # folder of metrics (serving.py there), so a request counts once more for each that it asks.
    Profile(
        name="bentoml",
        # What the client got wrong is refused at once, and would make a replica look fast.
        latency=(
            Latency(_of_bentoml("duration_seconds", ("http_response_code", "!4*"), unit="s")),
        ),
        running=_of_bentoml("in_progress"),
        errors=_of_bentoml("total", ("http_response_code", "5*")),
        model_label="runner_name",
        is_layered=True,
    ),
    # mudler/LocalAI: core/services/monitoring/metrics.go, core/http/endpoints/localai/metrics.go:
    # seconds, in OpenTelemetry's default buckets (le 0, 5, 10 …), which are meant for ms.
    Profile(name="localai", latency=(_seconds("api_call", ("path", "*/embeddings")),)),
    # ggml-org/llama.cpp: tools/server/server-context.cpp and its README, with --metrics. No family
    # has durations of requests.
    Profile(
        name="llama-cpp",
        latency=(),
        queue=Source("llamacpp:requests_deferred"),
        running=Source("llamacpp:requests_processing"),
        tokens=Source("llamacpp:prompt_tokens_total"),
    ),
    # InternLM/lmdeploy: lmdeploy/metrics/loggers.py, with --enable-metrics. What it calls failed
    # includes what clients cancelled (`num_failed_reqs` in stats.py), so no errors are read.
    _of_engine(lambda name: Source(f"lmdeploy:{name}"), name="lmdeploy"),
    # pytorch/serve: ts/configs/metrics.yaml. The durations begin when a worker takes a request.
    Profile(
        name="torchserve",
        latency=(
            Latency(
                Source("ts_inference_latency_microseconds", "us"),
                "counters",
                "ts_inference_requests_total",
            ),
        ),
        errors=Source("Requests5XX"),
        model_label="model_name",
    ),
    # tensorflow/serving: tensorflow_serving/servables/tensorflow/util.cc, microseconds in 33
    # buckets, times 1.8 from 10, and model_servers/prometheus_exporter.cc, which makes the names.
    Profile(
        name="tf-serving",
        latency=(Latency(Source(":tensorflow:serving:request_latency", "us")),),
        errors=Source(":tensorflow:serving:request_count").without("status", _CLIENT_STATUS),
        model_label="model_name",
    ),
    # kserve/kserve: python/kserve/kserve/metrics.py; what comes before and after predicting has
    # families of its own.
    Profile(
        name="kserve",
        latency=(_seconds("request_predict_seconds"),),
        model_label="model_name",
    ),
    # mosecorg/mosec: src/metrics.rs, src/routes.rs. Each stage counts a request again; the one that
    # is called total is the request, and counts only what was answered.
    Profile(
        name="mosec",
        latency=(_seconds("mosec_service_process_duration_second", ("stage", "total")),),
        running=Source("mosec_service_remaining_task"),
        errors=Source("mosec_service_throughput").without("code", ("200", "400", "413", "422")),
    ),
)

PROFILES: Final = {profile.name: profile for profile in _PROFILES}
"""Profiles by name."""


def profile_of(settings: MetricsSettings) -> Profile:
    """The profile that a pool's settings choose or spell out; `ValueError` for ``none``."""
    if not settings.is_scraped:
        raise ValueError("profile none is not scraped")
    if settings.profile == "prometheus":
        return _known(declared(settings))
    return _narrowed(settings.profile, tuple(settings.labels.items()))


# The same object at every scrape: it knows what it has worked out, and layouts know it at once.
@lru_cache(maxsize=_CACHED_PROFILES)
def _narrowed(name: str, labels: tuple[tuple[str, str], ...]) -> Profile:
    return PROFILES[name].narrowed(dict(labels))


@lru_cache(maxsize=_CACHED_PROFILES)
def _known(profile: Profile) -> Profile:
    return profile
