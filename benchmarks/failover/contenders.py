"""Who is compared. A contender is added by a `contender.Start` and a row here."""

from functools import partial
from typing import Final

from benchmarks import proxies
from benchmarks.balance import plimsoll
from benchmarks.balance.contender import Contender

OURS: Final = "plimsoll"

CONTENDERS: Final = (
    Contender(
        OURS, "Plimsoll", plimsoll.by_metrics, "defaults; replicas declare their slots", "Plimsoll"
    ),
    Contender(
        "haproxy",
        "HAProxy",
        partial(proxies.haproxy, proxies.HAPROXY_FAILOVER),
        proxies.HAPROXY_FAILOVER_SETTINGS,
        "HAProxy",
    ),
    Contender(
        "nginx",
        "nginx",
        partial(proxies.nginx, proxies.NGINX_FAILOVER),
        proxies.NGINX_FAILOVER_SETTINGS,
        "nginx",
    ),
)

BY_NAME: Final = {each.name: each for each in CONTENDERS}

PEERS: Final = tuple(name for name in BY_NAME if name != OURS)
