"""What the registry and the xDS services do with a plane, without a store and without Envoys."""

from collections.abc import Mapping

from controlplane import fleet as fleets
from controlplane.config import Config
from controlplane.plane import Plane
from controlplane.telemetry.load import Endpoint, Load, drained


def declare(plane: Plane, config: Config, now: float) -> None:
    """Bring the fleet in line with a config file, and with what its sources have found."""
    plane.adopt(fleets.declare(plane.fleet, config, now), now)
    plane.scrape_with(config.pools)
    plane.discoveries.adopt(config.pools)
    discover(plane, now)


def discover(plane: Plane, now: float) -> None:
    """Bring the fleet in line with what its sources have found."""
    plane.adopt(plane.discovered(plane.fleet, now), now)
    plane.discoveries.taken_in()


def report(
    plane: Plane, reporter: object, loads: Mapping[Endpoint, Load], seconds: float, now: float
) -> None:
    """Take in what an Envoy has sent to replicas."""
    drained(plane.reporting(reporter, loads, seconds, now))
