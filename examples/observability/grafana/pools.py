"""The dashboards of all pools, and of one."""

from typing import Final

from examples.observability.grafana.parts import (
    BURN,
    DURATION,
    HIGHEST,
    MOST,
    OF_POOL,
    Board,
    Panel,
    Row,
    each,
    highest,
    number,
    quantile,
    rate,
    rates,
)

FLEET: Final = Board(
    "fleet",
    "Plimsoll / Fleet",
    "All pools beside each other.",
    ("job",),
    (
        Row(
            "Now",
            (
                number("Pools", 'plimsoll_pools{job="$job"}'),
                number("Replicas ready", 'sum(plimsoll_pool_replicas{job="$job", state="ready"})'),
                number("Replicas gone", 'sum(plimsoll_pool_replicas{job="$job", state="gone"})'),
                number("Envoys connected", 'plimsoll_xds_nodes{job="$job"}'),
                number("Envoys rejecting", 'plimsoll_xds_nodes_rejecting{job="$job"}'),
                number(
                    "Requests",
                    'sum(rate(plimsoll_replica_requests_total{job="$job"}[$__rate_interval]))',
                    "reqps",
                ),
            ),
        ),
        Row(
            "Objectives",
            (
                Panel(
                    "p99 of clients",
                    "s",
                    ((quantile(0.99, DURATION, "pool", 'job="$job"'), "{{pool}}"),),
                    "Retries and the time on the way included, errors left out.",
                ),
                Panel(
                    "Burn rate of latency, 1 h",
                    "short",
                    (
                        (
                            'job_pool_class:plimsoll_latency_budget:burn_rate1h{job="$job"}',
                            "{{pool}} {{class}}",
                        ),
                    ),
                    BURN,
                ),
                Panel(
                    "Burn rate of availability, 1 h",
                    "short",
                    (
                        (
                            'job_pool_class:plimsoll_availability_budget:burn_rate1h{job="$job"}',
                            "{{pool}} {{class}}",
                        ),
                    ),
                    BURN,
                ),
            ),
        ),
        Row(
            "Load",
            (
                Panel(
                    "Requests",
                    "reqps",
                    (
                        (
                            rate("plimsoll_replica_requests_total", "pool", 'job="$job"'),
                            "{{pool}}",
                        ),
                    ),
                    "Tries at replicas, by the count of all Envoys.",
                ),
                Panel(
                    "Capacity used",
                    "percentunit",
                    (('job_pool:plimsoll_capacity_used:ratio{job="$job"}', "{{pool}}"),),
                    "Load of what the serving replicas carry: tokens where they are counted.",
                ),
                Panel(
                    "Failed requests, 5 min",
                    "percentunit",
                    (
                        (
                            'job_pool_class:plimsoll_failed_requests:ratio_rate5m{job="$job"}',
                            "{{pool}} {{class}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Replicas",
            (
                Panel(
                    "Replicas by state",
                    "short",
                    (
                        (
                            'sum by (pool, state) (plimsoll_pool_replicas{job="$job"})',
                            "{{pool}} {{state}}",
                        ),
                    ),
                ),
                Panel(
                    "Cut or limited by GPU memory",
                    "short",
                    (
                        (
                            "count by (pool) (plimsoll_replica_gpu_memory_guard_ratio"
                            '{job="$job"} < 1)'
                            ' or 0 * max by (pool) (plimsoll_pool_suspect{job="$job"})',
                            "{{pool}}",
                        ),
                    ),
                ),
                Panel(
                    "Disputed, stale",
                    "short",
                    (
                        (
                            'max by (pool) (plimsoll_pool_health_disputed{job="$job"})',
                            "{{pool}} disputed",
                        ),
                        ('sum by (pool) (plimsoll_replica_stale{job="$job"})', "{{pool}} stale"),
                    ),
                    "Health that Envoys see otherwise; scrapes too old to follow.",
                ),
            ),
        ),
    ),
)

POOL: Final = Board(
    "pool",
    "Plimsoll / Pool",
    "One pool: its classes, its replicas, what they carry and what they get.",
    ("job", "pool"),
    (
        Row(
            "Clients",
            (
                Panel(
                    "p50 and p99, beside the objective",
                    "s",
                    (
                        (quantile(0.5, DURATION, "class", OF_POOL), "{{class}} p50"),
                        (quantile(0.99, DURATION, "class", OF_POOL), "{{class}} p99"),
                        (f"plimsoll_objective_p99_seconds{{{OF_POOL}}}", "{{class}} objective"),
                    ),
                    "Retries and the time on the way included, errors left out.",
                ),
                Panel(
                    "Slow and failed requests, 5 min",
                    "percentunit",
                    (
                        (
                            f"job_pool_class:plimsoll_slow_requests:ratio_rate5m{{{OF_POOL}}}",
                            "{{class}} slow",
                        ),
                        (
                            f"job_pool_class:plimsoll_failed_requests:ratio_rate5m{{{OF_POOL}}}",
                            "{{class}} failed",
                        ),
                    ),
                ),
                Panel(
                    "Burn rates, 1 h",
                    "short",
                    (
                        (
                            f"job_pool_class:plimsoll_latency_budget:burn_rate1h{{{OF_POOL}}}",
                            "{{class}} latency",
                        ),
                        (
                            f"job_pool_class:plimsoll_availability_budget:burn_rate1h{{{OF_POOL}}}",
                            "{{class}} availability",
                        ),
                    ),
                    BURN,
                ),
            ),
        ),
        Row(
            "Capacity",
            (
                Panel(
                    "Capacity used",
                    "percentunit",
                    ((f"job_pool:plimsoll_capacity_used:ratio{{{OF_POOL}}}", "used"),),
                ),
                Panel(
                    "Capacity in tokens a second",
                    "short",
                    ((each("plimsoll_replica_capacity_tokens_per_second"), "{{replica}}"),),
                    f"{HIGHEST} No series where servers count no tokens.",
                ),
                Panel(
                    "Capacity in requests a second",
                    "reqps",
                    ((each("plimsoll_replica_capacity_requests_per_second"), "{{replica}}"),),
                    HIGHEST,
                ),
                Panel(
                    "Share of the pool's traffic",
                    "percentunit",
                    ((each("plimsoll_replica_share_ratio"), "{{replica}}"),),
                    HIGHEST,
                ),
                Panel(
                    "Share, relative to capacity",
                    "short",
                    (
                        (
                            each("job_pool_replica:plimsoll_share_of_capacity:ratio", lowest=True),
                            "{{replica}}",
                        ),
                    ),
                    f"1 is even. Below 0.1 a replica is starved. The {MOST} lowest.",
                ),
                Panel(
                    "Tiers",
                    "short",
                    ((f"sum by (tier) (plimsoll_replica_tier{{{OF_POOL}}})", "{{tier}}"),),
                    "Replicas in each: within a tier they are alike.",
                ),
            ),
        ),
        Row(
            "Load",
            (
                Panel(
                    "Requests",
                    "reqps",
                    ((rates("plimsoll_replica_requests_total"), "{{replica}}"),),
                    HIGHEST,
                ),
                Panel(
                    "Tokens a second",
                    "short",
                    ((rates("plimsoll_replica_tokens_total"), "{{replica}}"),),
                    HIGHEST,
                ),
                Panel(
                    "In flight",
                    "short",
                    ((each("plimsoll_replica_in_flight_requests"), "{{replica}}"),),
                    HIGHEST,
                ),
                Panel(
                    "Waiting inside",
                    "short",
                    (
                        (
                            highest(
                                f"(plimsoll_replica_queued_texts{{{OF_POOL}}}{{at}}"
                                f" or plimsoll_replica_queued_requests{{{OF_POOL}}}{{at}})"
                            ),
                            "{{replica}}",
                        ),
                    ),
                    f"Texts or requests, as the server counts. {HIGHEST}",
                ),
                Panel(
                    "p99 of replicas",
                    "s",
                    ((each("plimsoll_replica_latency_p99_seconds"), "{{replica}}"),),
                    f"By their own histograms, without the way. {HIGHEST}",
                ),
                Panel(
                    "GPU memory",
                    "percentunit",
                    ((each("plimsoll_replica_gpu_memory_used_ratio"), "{{replica}} {{gpu}}"),),
                    HIGHEST,
                ),
            ),
        ),
        Row(
            "Classes",
            (
                Panel(
                    "Replicas of each class",
                    "short",
                    ((f"plimsoll_class_replicas{{{OF_POOL}}}", "{{class}}"),),
                    "No series where requests are not parted.",
                ),
                Panel(
                    "Part of the work",
                    "percentunit",
                    ((f"plimsoll_class_part_of_work{{{OF_POOL}}}", "{{class}}"),),
                ),
                Panel(
                    "Requests sampled, by result",
                    "reqps",
                    (
                        (
                            rate("plimsoll_sampled_requests_total", "class, result", OF_POOL),
                            "{{class}} {{result}}",
                        ),
                    ),
                    "A random fifth of all.",
                ),
            ),
        ),
    ),
)
