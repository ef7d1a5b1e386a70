"""What users declare: pools, replicas and the config file, as frozen and validated types.

In comes text (a YAML file) or plain data (a REST body); out come frozen models, or one
`SettingsError` that says what is wrong, where, and what would be right.
"""

from controlplane.config.addresses import Address, parse_address, parse_listener_address
from controlplane.config.balancing import (
    COMPARING,
    WEIGHED,
    BalancingSettings,
    HashSettings,
    Policy,
)
from controlplane.config.classes import ClassMatch, ClassSettings, HeaderMatch
from controlplane.config.config import AdminSettings, Config, OtlpSettings, load_config
from controlplane.config.discovery import (
    DirectorySettings,
    DiscoverySettings,
    DnsSettings,
    DockerSettings,
    load_replicas,
)
from controlplane.config.errors import SettingsError, shown, validated
from controlplane.config.identity import (
    AdminTlsSettings,
    Role,
    Token,
    XdsTlsSettings,
    parse_tokens,
)
from controlplane.config.metrics import (
    SERVERS,
    CountFamily,
    GpuSettings,
    LatencyFamily,
    MemoryFamily,
    MemoryTotalFamily,
    MetricsSettings,
    ProfileName,
    QueueFamily,
    QueueUnit,
)
from controlplane.config.pool import PoolEntry, PoolSettings
from controlplane.config.replica import Locality, ReplicaEntry, ReplicaSettings
from controlplane.config.values import parse_duration
