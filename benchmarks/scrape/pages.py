"""Expositions as long as those of real servers, whose values move as requests end. Pure.

Families, labels and bounds are those that text-embeddings-inference (router/src/prometheus.rs) and
vLLM (vllm/v1/metrics/loggers.py, beside its web server's) expose.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from random import Random
from typing import Final, NamedTuple

MODEL: Final = "intfloat/multilingual-e5-large-instruct"

START: Final = 1.7e9
"""When every simulated process started, Unix seconds."""

SIGMA: Final = 1.0
"""Of the lognormal sizes of requests."""


class Shape(NamedTuple):
    """A histogram.

    Attributes:
        family: Its name.
        labels: As they stand before ``le``, each with a comma after it.
        bounds: Of its buckets as they are written, without ``+Inf``.
        part: Of a request's duration that it observes.
    """

    family: str
    labels: str
    bounds: tuple[str, ...]
    part: float


class Server(NamedTuple):
    """A kind of server.

    Attributes:
        shapes: Its histograms.
        head: Lines that stand still.
        counters: Series that count requests.
        queue: The series of requests that wait.
        number: How a count is written.
    """

    shapes: tuple[Shape, ...]
    head: str
    counters: tuple[str, ...]
    queue: str
    number: str


def _bounds(first: float, factor: float, count: int) -> tuple[str, ...]:
    return tuple(repr(first * factor**power) for power in range(count))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_DURATIONS: Final = _bounds(1.5e-5, 1.5, 35)
_SIZES: Final = ("1", "2", "4", "8", "16", "32", "64", "128", "256", "512", "1024", "2048", "4096")


def _tei() -> Server:
    durations = {
        "te_request_duration": 1.0,
        "te_request_tokenization_duration": 0.02,
        "te_request_queue_duration": 0.1,
        "te_request_inference_duration": 0.85,
        "te_embed_duration": 0.99,
        "te_embed_tokenization_duration": 0.02,
        "te_embed_queue_duration": 0.1,
        "te_embed_inference_duration": 0.85,
    }
    sizes = {"te_request_input_length": 4000.0, "te_batch_next_size": 100.0}
    sizes |= {"te_batch_next_tokens": 10_000.0}
    return Server(
        shapes=(
            *(Shape(name, "", _DURATIONS, part) for name, part in durations.items()),
            *(Shape(name, "", _SIZES, part) for name, part in sizes.items()),
        ),
        head="# TYPE te_request_failure counter\n"
        'te_request_failure{err="overloaded"} 5\nte_request_failure{err="validation"} 2\n\n',
        counters=(
            'te_request_count{method="single"}',
            'te_request_success{method="single"}',
            "te_embed_count",
            "te_embed_success",
        ),
        queue="te_queue_size",
        number="%d",
    )


_WAITS: Final = _words(
    "0.3 0.5 0.8 1.0 1.5 2.0 2.5 5.0 10.0 15.0 20.0 30.0 40.0 50.0 60.0 120.0 240.0 480.0 960.0"
    " 1920.0 7680.0"
)
_FIRST_TOKEN: Final = _words(
    "0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 10.0 20.0 40.0 80.0"
    " 160.0 640.0 2560.0"
)
_TOKENS: Final = _words(
    "1.0 2.0 5.0 10.0 20.0 50.0 100.0 200.0 500.0 1000.0 2000.0 5000.0 10000.0 20000.0"
)
_FINE: Final = _words(
    "0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1.0 1.5 2.0 2.5 3.0 3.5 4.0 4.5 5.0 7.5 10.0 30.0 60.0"
)


def _vllm() -> Server:
    labels = f'engine="0",model_name="{MODEL}",'
    waits: tuple[str, ...] = ("e2e_request_latency", "request_queue_time", "request_inference_time")
    waits += ("request_prefill_time", "request_decode_time")
    first: tuple[str, ...] = ("time_to_first_token", "time_per_output_token", "inter_token_latency")
    first += ("request_time_per_output_token",)
    tokens: tuple[str, ...] = (
        "iteration_tokens_total",
        "request_prompt_tokens",
        "request_generation_tokens",
    )
    tokens += ("request_max_num_generation_tokens", "request_params_max_tokens")
    tokens += ("request_params_n", "request_prefill_kv_computed_tokens")
    handlers = ("/v1/embeddings", "/v1/models", "/health", "/metrics", "/tokenize")
    return Server(
        shapes=(
            *(Shape(f"vllm:{name}_seconds", labels, _WAITS, 1.0) for name in waits),
            *(Shape(f"vllm:{name}_seconds", labels, _FIRST_TOKEN, 0.5) for name in first),
            *(Shape(f"vllm:{name}", labels, _TOKENS, 4000.0) for name in tokens),
            *(
                Shape(
                    "http_request_duration_seconds",
                    f'handler="{handler}",method="POST",',
                    ("0.1", "0.5", "1.0"),
                    1.0,
                )
                for handler in handlers
            ),
            Shape("http_request_duration_highr_seconds", "", _FINE, 1.0),
        ),
        head=f"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {START!r}\n"
        "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 412.09\n",
        counters=(
            f'vllm:prompt_tokens_total{{engine="0",model_name="{MODEL}"}}',
            f'vllm:request_success_total{{engine="0",finished_reason="stop",model_name="{MODEL}"}}',
        ),
        queue=f'vllm:num_requests_waiting{{engine="0",model_name="{MODEL}"}}',
        number="%d.0",
    )


SERVERS: Final[Mapping[str, Server]] = {"tei": _tei(), "vllm": _vllm()}
"""By the name of the profile that reads them."""


class Page:
    """The exposition of one replica that answers requests all the time."""

    def __init__(self, server: str, seed: int, rate: float) -> None:
        """Begin without a request.

        Args:
            server: Which of `SERVERS`.
            seed: Two replicas with one seed have the same requests.
            rate: Requests per second.
        """
        self._server = SERVERS[server]
        self._random = Random(seed)
        self._rate = rate
        self._mean = 0.5 / rate
        self._template = template(self._server)
        self._grids = [tuple(map(float, shape.bounds)) for shape in self._server.shapes]
        self._counts = [[0] * (len(grid) + 1) for grid in self._grids]
        self._totals = [0.0] * len(self._grids)
        self._ended = 0
        self._owed = 0.0

    def after(self, seconds: float) -> bytes:
        """The exposition so many seconds after the last one."""
        self._owed += self._rate * seconds * self._random.uniform(0.7, 1.3)
        ended, self._owed = int(self._owed), self._owed % 1
        self._ended += ended
        for _ in range(ended):
            duration = self._mean * self._random.lognormvariate(-(SIGMA**2) / 2, SIGMA)
            for index, shape in enumerate(self._server.shapes):
                value = duration * shape.part
                self._counts[index][bisect_left(self._grids[index], value)] += 1
                self._totals[index] += value
        values: list[float] = [self._ended] * len(self._server.counters)
        values.append(self._random.randrange(3))
        for counts, total in zip(self._counts, self._totals, strict=True):
            values += accumulate(counts)
            values += (total, self._ended)
        return self._template % tuple(values)


def template(server: Server) -> bytes:
    """The exposition with a place for each value: counters, queue, then buckets, sum and count."""
    lines = [server.head]
    for series in (*server.counters, server.queue):
        kind = "gauge" if series is server.queue else "counter"
        lines += (_about(series.partition("{")[0], kind), f"{series} {server.number}\n")
    family = ""
    for shape in server.shapes:
        if shape.family != family:
            family = shape.family
            lines.append(_about(family, "histogram"))
        lines += _histogram(shape, server.number)
    return "".join(lines).encode()


def _about(family: str, kind: str) -> str:
    return f"# HELP {family} {family.replace('_', ' ')}.\n# TYPE {family} {kind}\n"


def _histogram(shape: Shape, number: str) -> Sequence[str]:
    block = f"{{{shape.labels.rstrip(',')}}}" if shape.labels else ""
    return (
        *(
            f'{shape.family}_bucket{{{shape.labels}le="{bound}"}} {number}\n'
            for bound in (*shape.bounds, "+Inf")
        ),
        f"{shape.family}_sum{block} %r\n",
        f"{shape.family}_count{block} {number}\n",
    )
