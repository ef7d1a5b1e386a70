"""The command line: argv to options. Nothing here imports numpy, which has to come later."""

from __future__ import annotations

import argparse
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from embedding_replica.speed import is_speed

_POOL = "http://127.0.0.1:8080/v1/pools/minilm"
_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}


@dataclass(frozen=True)
class Options:
    """What a replica was asked to be; sizes in bytes, times in seconds."""

    host: str
    port: int
    model_name: str
    max_batch_tokens: int
    max_concurrent_requests: int
    max_client_batch_size: int
    threads: int
    speed: float
    load_seconds: float
    gpu_memory: int | None
    gpu_uuid: str | None
    grace: float
    register: str | None
    replica_id: str | None
    advertise: str | None
    ttl: float
    quiet: float
    token_file: str | None

    def environment(self) -> dict[str, str]:
        """What has to be in the environment before numpy and tokenizers are imported.

        OpenBLAS starts a thread per core by default, in each of the replicas that share a machine,
        and they would slow one another down. The variables are those of the BLAS libraries that
        numpy may be built with.
        """
        blas = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        return {name: str(self.threads) for name in blas} | {"TOKENIZERS_PARALLELISM": "false"}


def parse(argv: Sequence[str]) -> Options:
    """Read the command line; exits with status 2 and one line on bad usage."""
    parser = argparse.ArgumentParser(prog="replica", description="An embedding server, as example.")
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=_port, required=True, help="port to listen on; 0 picks a free one")
    add("--model-name", default="all-MiniLM-L6-v2", help="name it serves under (%(default)s)")
    add("--max-batch-tokens", type=_count, default=16384, help="tokens in a batch (%(default)s)")
    add("--max-concurrent-requests", type=_count, default=512, help="texts here (%(default)s)")
    add("--max-client-batch-size", type=_count, default=64, help="texts a request (%(default)s)")
    add("--threads", type=_count, default=1, help="BLAS threads (%(default)s)")
    add("--speed", type=_speed, default=1.0, help="stand in for hardware this much as fast, (0, 1]")
    add("--load-seconds", type=_seconds, default=0.0, help="time to add to loading the model")
    add("--gpu-memory", type=size, help="stated GPU memory that batches are charged to, e.g. 8GiB")
    add("--gpu-uuid", help="that GPU's UUID; by default one made from host and port")
    add("--grace", type=_seconds, default=30.0, help="seconds in-flight requests get at the end")
    add("--register", type=_pool_url, metavar="URL", help="pool to be a replica of, e.g. " + _POOL)
    add("--replica-id", help="what to be called there; by default made from the address")
    add("--advertise", metavar="HOST:PORT", help="address to register (that listened on)")
    add("--ttl", type=_lease, default=10.0, help="seconds a lease lasts (%(default)s)")
    add("--quiet", type=_seconds, default=3.0, help="seconds without a request before it leaves")
    add("--token-file", help="file with the token of the control plane's API")
    options = Options(**vars(parser.parse_args(argv)))
    if options.register is None and (options.replica_id or options.advertise or options.token_file):
        parser.error("--replica-id, --advertise and --token-file need --register")
    if options.register and options.host in ("0.0.0.0", "::") and not options.advertise:  # noqa: S104 - compared
        parser.error(f"--host {options.host} is no address to reach it at; give --advertise")
    if options.gpu_uuid is not None and options.gpu_memory is None:
        parser.error("--gpu-uuid needs --gpu-memory")
    return options


def gpu_uuid(host: str, port: int) -> str:
    """Make up a UUID, in NVIDIA's form, that a replica has again when it is started again."""
    return f"GPU-{uuid.uuid5(uuid.NAMESPACE_URL, f'replica://{host}:{port}')}"


def size(text: str) -> int:
    """Read a number of bytes such as ``512MiB`` or ``1.5GiB``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([A-Za-z]*)", text)
    if not match or match[2] not in _UNITS or not float(match[1]):
        raise argparse.ArgumentTypeError(f"'{text}' is no size; write it like 512MiB or 8GiB")
    return int(float(match[1]) * _UNITS[match[2]])


def _speed(text: str) -> float:
    number = _number(text)
    if not is_speed(number):
        raise argparse.ArgumentTypeError(f"'{text}' is not above 0 and at most 1")
    return number


def _seconds(text: str) -> float:
    number = _number(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds")
    return number


def _lease(text: str) -> float:
    # A third of it passes between two heartbeats.
    if not 1 <= (seconds := _number(text)) <= 3600:
        raise argparse.ArgumentTypeError(f"'{text}' is not 1 to 3600 seconds")
    return seconds


def _pool_url(text: str) -> str:
    if not re.fullmatch(r"https?://[^/?#\s]+/v1/pools/[A-Za-z0-9._-]+/?", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no pool; write it like {_POOL}")
    return text.removesuffix("/")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no number") from None


def _whole(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number")
    return int(text)


def _count(text: str) -> int:
    if not (number := _whole(text)):
        raise argparse.ArgumentTypeError("at least 1 is needed")
    return number


def _port(text: str) -> int:
    if (number := _whole(text)) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is above the highest port, 65535")
    return number
