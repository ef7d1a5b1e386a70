"""The settings of a pool whose tests do not care for them."""

from controlplane.config import PoolSettings

SETTINGS = PoolSettings.model_validate({"model": "m", "listener": {"address": "127.0.0.1:10000"}})
