"""Who is compared. A contender is added by a `contender.Start` and a row here."""

from typing import Final

from benchmarks.balance import plimsoll
from benchmarks.balance.contender import Contender
from benchmarks.failover import peers

OURS: Final = "plimsoll"

CONTENDERS: Final = (
    Contender(
        OURS, "Plimsoll", plimsoll.by_metrics, "defaults; replicas declare their slots", "Plimsoll"
    ),
    Contender("haproxy", "HAProxy", peers.start_haproxy, peers.HAPROXY_SETTINGS, "HAProxy"),
    Contender("nginx", "nginx", peers.start_nginx, peers.NGINX_SETTINGS, "nginx"),
)

BY_NAME: Final = {each.name: each for each in CONTENDERS}

PEERS: Final = tuple(name for name in BY_NAME if name != OURS)
