"""What is to be sent, to whom, and who is looked at meanwhile: an order, as plain data. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from controlplane.tools.load.bodies import Body
from controlplane.tools.load.schedule import Step
from controlplane.tools.load.targets import Target
from controlplane.tools.load.texts import Texts

MOST: Final = 2000
"""Requests in flight at most, unless somebody says otherwise: a safety bound for both sides."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is to be sent.

    Attributes:
        bodies: How a request to each target looks.
        timeout: Seconds after which a request has failed.
        most: Requests in flight at which further ones are held back.
        replica_header: Of answers, that names who answered; None where none does.
    """

    targets: Sequence[Target]
    bodies: Sequence[Body]
    steps: Sequence[Step]
    texts: Texts
    seed: int
    timeout: float = 30.0
    most: int = MOST
    replica_header: str | None = None

    @property
    def seconds(self) -> float:
        """From the begin of the load to its end."""
        return self.steps[-1].end


@dataclass(frozen=True, slots=True)
class Sources:
    """Who can tell what replicas get and do.

    Attributes:
        pool: That the targets lead to; also the name of Envoy's cluster.
        admin: URL of the control plane's API.
        envoys: URLs of Envoys' admin interfaces.
        headers: For the control plane's API.
    """

    pool: str = ""
    admin: str | None = None
    envoys: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
