"""Who is there, where each listens, and what each is told at its start: pure, once ports are known.

The control plane gets a config file and each Envoy a bootstrap, as anybody would write them.
"""

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from controlplane.resources.bootstrap import bootstrap
from controlplane.settings import Address

POOL: Final = "minilm"
MODEL: Final = "all-MiniLM-L6-v2"
SPEEDS: Final = {"a": 1.0, "b": 1.0, "c": 0.5, "d": 0.25}
"""Replicas and how fast they are: two alike, which share a tier, and two slower kinds."""
SLOWED: Final = "b"
SLOW: Final = 0.1
"""The replica that a demonstration slows down, and its speed then."""
GPU_MEMORY: Final = "256MiB"
"""What each replica is charged against: so little that a model of 87 MiB shows."""
SIDECARS: Final = 2


@dataclass(frozen=True, slots=True)
class Replica:
    """An example replica."""

    id: str
    address: Address
    speed: float

    def flags(self) -> list[str]:
        """What it is started with."""
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
        """What it is started with."""
        return bootstrap(
            self.name,
            xds,
            pools=[POOL],
            admin_port=self.admin.port,
            listen={POOL: self.listener},
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that runs.

    Attributes:
        admin: The control plane's REST API.
        xds: Where it serves Envoys.
    """

    admin: Address
    xds: Address
    replicas: tuple[Replica, ...]
    sidecars: tuple[Sidecar, ...]

    @classmethod
    def on(cls, ports: Sequence[int]) -> "Layout":
        """Give every part its own of these ports on loopback; `PORTS` are needed."""
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
        """The control plane's config file.

        Args:
            store: Path of its database.
        """
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
    """So many different ports on loopback that nobody listens on at the moment."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
