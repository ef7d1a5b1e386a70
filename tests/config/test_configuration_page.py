"""The page about the config file shows every key, with the default that it has."""

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from controlplane.config import (
    AdminSettings,
    AdminTlsSettings,
    BalancingSettings,
    ClassMatch,
    Config,
    Locality,
    MetricsSettings,
    PoolEntry,
    ReplicaEntry,
    XdsTlsSettings,
    load_config,
)
from controlplane.config.config import StoreSettings, XdsSettings
from controlplane.config.health_check import HealthCheckSettings
from controlplane.config.identity import CaSettings, IdentitySettings
from controlplane.config.metrics import FAMILIES, ScrapingSettings
from controlplane.config.pool import ListenerSettings, RouteSettings
from controlplane.config.replica import MemorySettings
from controlplane.config.tls import ListenerTls, MeshSettings, UpstreamSettings, UpstreamTls

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
BLOCK, TLS, CLASSES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
LEAST = """
pools:
  - name: minilm
    model: all-MiniLM-L6-v2
    listener: {address: "127.0.0.1:10000"}
    replicas: [{id: a, address: "10.0.0.11:8080"}]
"""


def test_what_it_shows_is_what_there_is_without_a_word_of_it() -> None:
    assert load_config(BLOCK, "page").model_dump() == load_config(LEAST, "least").model_dump()


def test_the_classes_that_it_shows_are_read() -> None:
    (pool,) = load_config(LEAST.rstrip() + "\n" + CLASSES, "page").pools
    assert [request_class.name for request_class in pool.classes or ()] == [
        "nightly",
        "index",
        "long",
    ]


def test_it_shows_every_key_of_tls() -> None:
    config, data = load_config(TLS, "page"), yaml.safe_load(TLS)
    assert data["admin"]["tls"].keys() == AdminTlsSettings.model_fields.keys()
    assert data["xds"]["tls"].keys() == XdsTlsSettings.model_fields.keys()
    assert data["identity"]["ca"].keys() == CaSettings.model_fields.keys()
    assert config.identity.ca == CaSettings(path="ca")
    fields = XdsTlsSettings.model_fields
    assert config.xds.tls is not None
    assert config.xds.tls.max_connection_age == fields["max_connection_age"].default


def test_it_shows_every_key() -> None:
    data = yaml.safe_load(BLOCK)
    (pool,) = data["pools"]
    (replica,) = pool["replicas"]
    shown: list[tuple[type[BaseModel], dict[str, Any]]] = [
        (Config, data),
        (AdminSettings, data["admin"]),
        (XdsSettings, data["xds"]),
        (StoreSettings, data["store"]),
        (IdentitySettings, data["identity"]),
        (PoolEntry, pool),
        (ListenerSettings, pool["listener"]),
        (UpstreamSettings, pool["upstream"]),
        (RouteSettings, pool["route"]),
        (BalancingSettings, pool["balancing"]),
        (HealthCheckSettings, pool["health_check"]),
        (MetricsSettings, {**pool["metrics"], **dict.fromkeys(FAMILIES)}),
        (MemorySettings, pool["memory"]),
        (MeshSettings, pool["mesh"]),
        (ScrapingSettings, pool["scraping"]),
        (ReplicaEntry, replica),
        (Locality, replica["locality"]),
    ]
    for model, keys in shown:
        assert keys.keys() == model.model_fields.keys(), model
    for key in ClassMatch.model_fields:
        assert f"`{key}" in PAGE
    for key in (*ListenerTls.model_fields, *UpstreamTls.model_fields):
        assert f"{key}: " in BLOCK
    for family in FAMILIES:
        assert f"`{family}`" in PAGE
