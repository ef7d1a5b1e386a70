"""What users declare: pools, replicas and the config file, as frozen and validated types.

In comes text (a YAML file) or plain data (a REST body); out come frozen models, or one
`SettingsError` that says what is wrong, where, and what would be right.
"""

from controlplane.settings.balancing import (
    COMPARING,
    WEIGHED,
    BalancingSettings,
    HashSettings,
    Policy,
)
from controlplane.settings.classes import ClassMatch, ClassSettings, HeaderMatch
from controlplane.settings.config import AdminSettings, Config, XdsSettings, load_config
from controlplane.settings.discovery import (
    DirectorySettings,
    DiscoverySettings,
    DnsSettings,
    DockerSettings,
    load_replicas,
)
from controlplane.settings.families import (
    CountFamily,
    LatencyFamily,
    MemoryFamily,
    MemoryTotalFamily,
    QueueFamily,
    QueueUnit,
)
from controlplane.settings.metrics import GpuSettings, MetricsSettings
from controlplane.settings.pool import PoolEntry, PoolSettings
from controlplane.settings.problems import SettingsError, shown, validated
from controlplane.settings.replica import Locality, ReplicaEntry, ReplicaSettings
from controlplane.settings.servers import SERVERS, ProfileName, ServerPaths
from controlplane.settings.tokens import Role, Token, parse_tokens
from controlplane.settings.values import (
    Address,
    parse_address,
    parse_duration,
    parse_listener_address,
)

__all__ = [
    "COMPARING",
    "SERVERS",
    "WEIGHED",
    "Address",
    "AdminSettings",
    "BalancingSettings",
    "ClassMatch",
    "ClassSettings",
    "Config",
    "CountFamily",
    "DirectorySettings",
    "DiscoverySettings",
    "DnsSettings",
    "DockerSettings",
    "GpuSettings",
    "HashSettings",
    "HeaderMatch",
    "LatencyFamily",
    "Locality",
    "MemoryFamily",
    "MemoryTotalFamily",
    "MetricsSettings",
    "Policy",
    "PoolEntry",
    "PoolSettings",
    "ProfileName",
    "QueueFamily",
    "QueueUnit",
    "ReplicaEntry",
    "ReplicaSettings",
    "Role",
    "ServerPaths",
    "SettingsError",
    "Token",
    "XdsSettings",
    "load_config",
    "load_replicas",
    "parse_address",
    "parse_duration",
    "parse_listener_address",
    "parse_tokens",
    "shown",
    "validated",
]
