"""Where each known server answers, by the name of its metric profile: health, metrics, requests.

These are defaults; `telemetry.servers` says which families mean what.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

ProfileName = Literal[
    "tei",
    "infinity",
    "vllm",
    "sglang",
    "triton",
    "nim",
    "ovms",
    "xinference",
    "ray-serve",
    "ray-llm",
    "bentoml",
    "localai",
    "llama-cpp",
    "lmdeploy",
    "torchserve",
    "tf-serving",
    "kserve",
    "mosec",
    "prometheus",
    "none",
]
"""Servers with known families; ``prometheus``: families are given; ``none``: no scraping."""


@dataclass(frozen=True, slots=True)
class ServerPaths:
    """Where a server answers.

    Attributes:
        health: Path that answers 200 once requests can be served.
        metrics: Path of the exposition.
        metrics_port: If not the port that serves requests.
        api: Path of its embeddings API; None where the user chooses it.
    """

    health: str = "/health"
    metrics: str = "/metrics"
    metrics_port: int | None = None
    api: str | None = "/v1/embeddings"


SERVERS: Final[Mapping[str, ServerPaths]] = MappingProxyType(
    {
        "tei": ServerPaths(),
        # Without a url_prefix, which is empty by default: infinity_emb/infinity_server.py.
        "infinity": ServerPaths(api="/embeddings"),
        "vllm": ServerPaths(),
        "sglang": ServerPaths(),
        # docs/user_guide/metrics.md of triton-inference-server/server; the metrics port is its own.
        "triton": ServerPaths(health="/v2/health/ready", metrics_port=8002, api=None),
        # https://docs.nvidia.com/nim/large-language-models/latest/observability.html
        "nim": ServerPaths(health="/v1/health/ready", metrics="/v1/metrics"),
        # docs/clients_kfs.md and docs/model_server_rest_api_embeddings.md of model_server.
        "ovms": ServerPaths(health="/v2/health/ready", api="/v3/embeddings"),
        # xinference/api/routers/admin.py.
        "xinference": ServerPaths(health="/status"),
        # One exposition for each node; 8080 is what Ray's documentation starts nodes with.
        "ray-serve": ServerPaths(health="/-/healthz", metrics_port=8080, api=None),
        "ray-llm": ServerPaths(health="/-/healthz", metrics_port=8080),
        "bentoml": ServerPaths(health="/readyz", api=None),
        "localai": ServerPaths(health="/readyz"),
        # tools/server/README.md of llama.cpp.
        "llama-cpp": ServerPaths(),
        # lmdeploy/serve/openai/api_server.py.
        "lmdeploy": ServerPaths(api=None),
        # docs/inference_api.md and docs/metrics_api.md of pytorch/serve.
        "torchserve": ServerPaths(health="/ping", metrics_port=8082, api=None),
        # Needs a monitoring_config_file; the REST port, 8501, serves it. A model's status is at
        # /v1/models/NAME, and there is no other path that says whether it is loaded.
        "tf-serving": ServerPaths(
            health="/monitoring/prometheus/metrics",
            metrics="/monitoring/prometheus/metrics",
            api=None,
        ),
        # docs of the open inference protocol; python/kserve/kserve/protocol/rest.
        "kserve": ServerPaths(health="/v2/health/ready", api="/openai/v1/embeddings"),
        # mosec/server.py: `/` answers 200 while the server is up, whatever its workers do.
        "mosec": ServerPaths(health="/", api=None),
        "prometheus": ServerPaths(api=None),
        "none": ServerPaths(api=None),
    }
)
