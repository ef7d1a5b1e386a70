"""The dashboard of one replica."""

from typing import Final

from examples.observability.grafana.parts import (
    OF_REPLICA,
    Board,
    Panel,
    Row,
    number,
    rate,
)

REPLICA: Final = Board(
    "replica",
    "Plimsoll / Replica",
    "One replica; `plimsoll explain POOL --replica ID` says why.",
    ("job", "pool", "replica"),
    (
        Row(
            "Now",
            (
                number("Ready", f'plimsoll_replica_state{{{OF_REPLICA}, state="ready"}}'),
                number("Drained", f"plimsoll_replica_drained{{{OF_REPLICA}}}"),
                number("Stale", f"plimsoll_replica_stale{{{OF_REPLICA}}}"),
                number("Weight", f"plimsoll_replica_weight{{{OF_REPLICA}}}"),
                number("Share", f"plimsoll_replica_share_ratio{{{OF_REPLICA}}}", "percentunit"),
                Panel(
                    "Tier",
                    "short",
                    ((f"plimsoll_replica_tier{{{OF_REPLICA}}}", "{{tier}}"),),
                    is_number=True,
                ),
            ),
        ),
        Row(
            "Load beside capacity",
            (
                Panel(
                    "Requests",
                    "reqps",
                    (
                        (
                            rate("plimsoll_replica_requests_total", "result", OF_REPLICA),
                            "{{result}}",
                        ),
                        (
                            f"plimsoll_replica_capacity_requests_per_second{{{OF_REPLICA}}}",
                            "capacity",
                        ),
                    ),
                ),
                Panel(
                    "Tokens a second",
                    "short",
                    (
                        (rate("plimsoll_replica_tokens_total", "replica", OF_REPLICA), "load"),
                        (
                            f"plimsoll_replica_capacity_tokens_per_second{{{OF_REPLICA}}}",
                            "capacity",
                        ),
                    ),
                ),
                Panel(
                    "Share, relative to capacity",
                    "short",
                    (
                        (
                            f"job_pool_replica:plimsoll_share_of_capacity:ratio{{{OF_REPLICA}}}",
                            "1 is even",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Requests",
            (
                Panel(
                    "Latency",
                    "s",
                    (
                        (f"plimsoll_replica_latency_p50_seconds{{{OF_REPLICA}}}", "p50"),
                        (f"plimsoll_replica_latency_p99_seconds{{{OF_REPLICA}}}", "p99"),
                        (f"plimsoll_replica_latency_mean_seconds{{{OF_REPLICA}}}", "mean"),
                    ),
                ),
                Panel(
                    "In flight and waiting",
                    "short",
                    (
                        (f"plimsoll_replica_in_flight_requests{{{OF_REPLICA}}}", "in flight"),
                        (
                            f"plimsoll_replica_queued_texts{{{OF_REPLICA}}}"
                            f" or plimsoll_replica_queued_requests{{{OF_REPLICA}}}",
                            "waiting",
                        ),
                    ),
                ),
                Panel(
                    "Scrapes",
                    "short",
                    (
                        (f"plimsoll_replica_scrape_age_seconds{{{OF_REPLICA}}}", "age in seconds"),
                        (
                            "increase(plimsoll_replica_scrape_failures_total"
                            f"{{{OF_REPLICA}}}[$__rate_interval])",
                            "failures",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "GPU memory",
            (
                Panel(
                    "In use, beside the limits",
                    "percentunit",
                    (
                        (f"plimsoll_replica_gpu_memory_used_ratio{{{OF_REPLICA}}}", "{{gpu}}"),
                        (f"plimsoll_replica_gpu_memory_limit_ratio{{{OF_REPLICA}}}", "{{limit}}"),
                    ),
                ),
                Panel(
                    "Bytes",
                    "bytes",
                    (
                        (f"plimsoll_replica_gpu_memory_used_bytes{{{OF_REPLICA}}}", "{{gpu}} used"),
                        (f"plimsoll_replica_gpu_memory_total_bytes{{{OF_REPLICA}}}", "{{gpu}}"),
                    ),
                    "No series where a server tells only a part.",
                ),
                Panel(
                    "Left of its share",
                    "percentunit",
                    ((f"plimsoll_replica_gpu_memory_guard_ratio{{{OF_REPLICA}}}", "left"),),
                    "0: it is cut.",
                ),
            ),
        ),
    ),
)
