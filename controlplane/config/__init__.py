"""What users declare: pools, replicas and the config file, as frozen and validated types.

In comes text (a YAML file) or plain data (a REST body); out come frozen models, or one
`SettingsError` that says what is wrong, where, and what would be right.
"""

from controlplane.config.balancing import (
    COMPARING,
    WEIGHED,
    BalancingSettings,
    HashSettings,
    Policy,
)
from controlplane.config.classes import ClassMatch, ClassSettings, HeaderMatch
from controlplane.config.config import AdminSettings, Config, XdsSettings, load_config
from controlplane.config.discovery import (
    DirectorySettings,
    DiscoverySettings,
    DnsSettings,
    DockerSettings,
    load_replicas,
)
from controlplane.config.errors import SettingsError, shown, validated
from controlplane.config.families import (
    CountFamily,
    LatencyFamily,
    MemoryFamily,
    MemoryTotalFamily,
    QueueFamily,
    QueueUnit,
)
from controlplane.config.identity import AdminTlsSettings, IdentitySettings, XdsTlsSettings
from controlplane.config.metrics import GpuSettings, MetricsSettings
from controlplane.config.otlp import OtlpSettings
from controlplane.config.pool import PoolEntry, PoolSettings
from controlplane.config.replica import Locality, ReplicaEntry, ReplicaSettings
from controlplane.config.servers import SERVERS, ProfileName, ServerPaths
from controlplane.config.tokens import Role, Token, parse_tokens
from controlplane.config.values import (
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
    "AdminTlsSettings",
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
    "IdentitySettings",
    "LatencyFamily",
    "Locality",
    "MemoryFamily",
    "MemoryTotalFamily",
    "MetricsSettings",
    "OtlpSettings",
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
    "XdsTlsSettings",
    "load_config",
    "load_replicas",
    "parse_address",
    "parse_duration",
    "parse_listener_address",
    "parse_tokens",
    "shown",
    "validated",
]
