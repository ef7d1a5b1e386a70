"""What a user said of a pool or a replica: without defaults, and without what follows from it."""

from typing import Any, TypeVar

from controlplane.config.errors import validated
from controlplane.config.pool import PoolSettings
from controlplane.config.replica import ReplicaSettings
from controlplane.config.servers import SERVERS

SettingsT = TypeVar("SettingsT", PoolSettings, ReplicaSettings)


def said(settings: PoolSettings | ReplicaSettings) -> frozenset[str]:
    """The keys that the user gave a value."""
    keys = frozenset(settings.model_fields_set)
    return keys - {"health_check"} if _has_its_servers_health(settings) else keys


def said_data(settings: PoolSettings | ReplicaSettings) -> dict[str, Any]:
    """What the user said, as plain data that `validated` makes the same settings of."""
    data = settings.model_dump(mode="json", include=set(said(settings)), exclude_unset=True)
    if "health_check" in data and isinstance(settings, PoolSettings):
        check = data["health_check"]
        # The path of the profile's server was filled in, or might as well have been.
        if check.get("path") == SERVERS[settings.metrics.profile].health:
            del check["path"]
    return data


def overridden(below: SettingsT, above: SettingsT, keys: frozenset[str]) -> SettingsT:
    """Settings in which some keys have the value of others.

    Args:
        below: Has all the other values.
        above: Has the values of `keys`.
        keys: Of those that the user gave a value in `above`.

    Raises:
        SettingsError: When the two do not go together.
    """
    mine = said_data(above)
    return validated(type(below), said_data(below) | {key: mine[key] for key in mine.keys() & keys})


def _has_its_servers_health(settings: PoolSettings | ReplicaSettings) -> bool:
    if not isinstance(settings, PoolSettings):
        return False
    check, server = settings.health_check, SERVERS[settings.metrics.profile]
    return check.model_fields_set <= {"path"} and check.path == server.health
