"""Who is compared. A contender is added by a `contender.Start` and a row here."""

from functools import partial
from typing import Final

from benchmarks import proxies
from benchmarks.balance import envoys, plimsoll
from benchmarks.balance.contender import Contender
from benchmarks.balance.oracle import SETTINGS as SPLIT
from benchmarks.balance.oracle import oracle, with_gateway
from benchmarks.balance.smg import SETTINGS as SMG
from benchmarks.balance.smg import smg
from benchmarks.balance.static import ORCA_SETTINGS
from benchmarks.balance.table import GATEWAY, ORACLE, OURS, REPORTS, THROUGH
from benchmarks.balance.traefik import SETTINGS as TRAEFIK
from benchmarks.balance.traefik import traefik

_ENVOY: Final = "health checks, retries and outlier detection as Plimsoll sets them"

CONTENDERS: Final = (
    Contender("round-robin", "Envoy round robin", envoys.round_robin, _ENVOY, "Envoy"),
    Contender(
        "two-choices", "Envoy least-request (two choices)", envoys.two_choices, _ENVOY, "Envoy"
    ),
    Contender("full-scan", "Envoy least-request FULL_SCAN", envoys.full_scan, _ENVOY, "Envoy"),
    Contender(
        "orca",
        "Envoy client-side WRR with ORCA",
        envoys.orca,
        f"{_ENVOY}; {ORCA_SETTINGS}",
        "Envoy",
    ),
    Contender(
        "haproxy",
        "HAProxy leastconn, true weights",
        partial(proxies.haproxy, proxies.HAPROXY_BALANCE),
        proxies.HAPROXY_BALANCE_SETTINGS,
        "HAProxy",
    ),
    Contender(
        "nginx",
        "nginx least_conn",
        partial(proxies.nginx, proxies.NGINX_BALANCE),
        proxies.NGINX_BALANCE_SETTINGS,
        "nginx",
    ),
    Contender("traefik", "Traefik least-time", traefik, TRAEFIK, "Traefik"),
    Contender("smg", "smg least-load, central", smg, SMG, "smg"),
    Contender(ORACLE, "Oracle split", oracle, f"{_ENVOY}; {SPLIT}", "Envoy"),
    Contender(
        GATEWAY,
        "Oracle split, bulk through a gateway",
        with_gateway,
        f"{_ENVOY}; {SPLIT}; one more Envoy, which sees all of bulk",
        "Envoy",
        only="classes-70",
    ),
    Contender(
        OURS,
        "Plimsoll",
        plimsoll.by_metrics,
        "defaults; replicas that have slots declare them",
        "Plimsoll",
    ),
    Contender(
        THROUGH,
        "Plimsoll, bulk through a gateway",
        plimsoll.through_a_gateway,
        "balancing: {long_requests_via: [ADDRESS]} of one more Envoy, a gateway; else defaults",
        "Plimsoll",
        only="classes-70",
    ),
    Contender(
        REPORTS,
        "Plimsoll, load reports only",
        plimsoll.by_load_reports,
        "metrics: {profile: none}; else defaults; replicas that have slots declare them",
        "Plimsoll",
        only="mixed-80",
    ),
)

BY_NAME: Final = {each.name: each for each in CONTENDERS}

TITLES: Final = {each.name: each.title for each in CONTENDERS}

REFERENCES: Final = frozenset({ORACLE, GATEWAY})

PEERS: Final = tuple(
    item.name for item in CONTENDERS if item.proxy != "Plimsoll" and item.name not in REFERENCES
)
