"""What the dashboards show: a fleet, one pool, one replica, and the way to Envoys."""

from typing import Final, NamedTuple


class Panel(NamedTuple):
    """One chart, or one number.

    Attributes:
        title: What it shows.
        unit: Grafana's name of it.
        queries: PromQL, and what a series is called.
        text: What to make of it.
        is_number: Whether only the newest value is shown.
    """

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    text: str = ""
    is_number: bool = False


class Row(NamedTuple):
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


class Board(NamedTuple):
    """A dashboard.

    Attributes:
        name: Of its file, and in its address.
        title: For people.
        text: What it is for.
        variables: That its queries have.
        rows: Of panels.
    """

    name: str
    title: str
    text: str
    variables: tuple[str, ...]
    rows: tuple[Row, ...]


def _number(title: str, query: str, unit: str = "short", text: str = "") -> Panel:
    return Panel(title, unit, ((query, ""),), text, is_number=True)


_POOL: Final = 'job="$job", pool="$pool"'
_REPLICA: Final = 'job="$job", pool="$pool", replica="$replica"'


def _quantile(part: float, name: str, by: str, which: str) -> str:
    rate = f"rate({name}_bucket{{{which}}}[$__rate_interval])"
    return f"histogram_quantile({part}, sum by ({by}, le) ({rate}))"


def _rate(name: str, by: str, which: str) -> str:
    return f"sum by ({by}) (rate({name}{{{which}}}[$__rate_interval]))"


_DURATION: Final = "plimsoll_sampled_request_duration_seconds"
_BURN: Final = "1 spends the error budget just in time; 14.4 for an hour a fiftieth of a month's."

FLEET: Final = Board(
    "fleet",
    "Plimsoll / Fleet",
    "All pools beside each other.",
    ("job",),
    (
        Row(
            "Now",
            (
                _number("Pools", 'plimsoll_pools{job="$job"}'),
                _number("Replicas ready", 'sum(plimsoll_pool_replicas{job="$job", state="ready"})'),
                _number("Replicas gone", 'sum(plimsoll_pool_replicas{job="$job", state="gone"})'),
                _number("Envoys connected", 'plimsoll_xds_nodes{job="$job"}'),
                _number("Envoys rejecting", 'plimsoll_xds_nodes_rejecting{job="$job"}'),
                _number(
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
                    ((_quantile(0.99, _DURATION, "pool", 'job="$job"'), "{{pool}}"),),
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
                    _BURN,
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
                    _BURN,
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
                            _rate("plimsoll_replica_requests_total", "pool", 'job="$job"'),
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
                        (_quantile(0.5, _DURATION, "class", _POOL), "{{class}} p50"),
                        (_quantile(0.99, _DURATION, "class", _POOL), "{{class}} p99"),
                        (f"plimsoll_objective_p99_seconds{{{_POOL}}}", "{{class}} objective"),
                    ),
                    "Retries and the time on the way included, errors left out.",
                ),
                Panel(
                    "Slow and failed requests, 5 min",
                    "percentunit",
                    (
                        (
                            f"job_pool_class:plimsoll_slow_requests:ratio_rate5m{{{_POOL}}}",
                            "{{class}} slow",
                        ),
                        (
                            f"job_pool_class:plimsoll_failed_requests:ratio_rate5m{{{_POOL}}}",
                            "{{class}} failed",
                        ),
                    ),
                ),
                Panel(
                    "Burn rates, 1 h",
                    "short",
                    (
                        (
                            f"job_pool_class:plimsoll_latency_budget:burn_rate1h{{{_POOL}}}",
                            "{{class}} latency",
                        ),
                        (
                            f"job_pool_class:plimsoll_availability_budget:burn_rate1h{{{_POOL}}}",
                            "{{class}} availability",
                        ),
                    ),
                    _BURN,
                ),
            ),
        ),
        Row(
            "Capacity",
            (
                Panel(
                    "Capacity used",
                    "percentunit",
                    ((f"job_pool:plimsoll_capacity_used:ratio{{{_POOL}}}", "used"),),
                ),
                Panel(
                    "Capacity in tokens a second",
                    "short",
                    (
                        (
                            f"plimsoll_replica_capacity_tokens_per_second{{{_POOL}}}",
                            "{{replica}}",
                        ),
                    ),
                    "No series where servers count no tokens.",
                ),
                Panel(
                    "Capacity in requests a second",
                    "reqps",
                    (
                        (
                            f"plimsoll_replica_capacity_requests_per_second{{{_POOL}}}",
                            "{{replica}}",
                        ),
                    ),
                ),
                Panel(
                    "Share of the pool's traffic",
                    "percentunit",
                    ((f"plimsoll_replica_share_ratio{{{_POOL}}}", "{{replica}}"),),
                ),
                Panel(
                    "Share, relative to capacity",
                    "short",
                    (
                        (
                            f"job_pool_replica:plimsoll_share_of_capacity:ratio{{{_POOL}}}",
                            "{{replica}}",
                        ),
                    ),
                    "1 is even. Below 0.1 a replica is starved.",
                ),
                Panel(
                    "Tiers",
                    "short",
                    ((f"sum by (tier) (plimsoll_replica_tier{{{_POOL}}})", "{{tier}}"),),
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
                    (
                        (
                            _rate("plimsoll_replica_requests_total", "replica", _POOL),
                            "{{replica}}",
                        ),
                    ),
                ),
                Panel(
                    "Tokens a second",
                    "short",
                    ((_rate("plimsoll_replica_tokens_total", "replica", _POOL), "{{replica}}"),),
                ),
                Panel(
                    "In flight",
                    "short",
                    ((f"plimsoll_replica_in_flight_requests{{{_POOL}}}", "{{replica}}"),),
                ),
                Panel(
                    "Waiting inside",
                    "short",
                    (
                        (
                            f"plimsoll_replica_queued_texts{{{_POOL}}}"
                            f" or plimsoll_replica_queued_requests{{{_POOL}}}",
                            "{{replica}}",
                        ),
                    ),
                    "Texts or requests, as the server counts.",
                ),
                Panel(
                    "p99 of replicas",
                    "s",
                    ((f"plimsoll_replica_latency_p99_seconds{{{_POOL}}}", "{{replica}}"),),
                    "By their own histograms, without the way.",
                ),
                Panel(
                    "GPU memory",
                    "percentunit",
                    (
                        (
                            f"plimsoll_replica_gpu_memory_used_ratio{{{_POOL}}}",
                            "{{replica}} {{gpu}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Classes",
            (
                Panel(
                    "Replicas of each class",
                    "short",
                    ((f"plimsoll_class_replicas{{{_POOL}}}", "{{class}}"),),
                    "No series where requests are not parted.",
                ),
                Panel(
                    "Part of the work",
                    "percentunit",
                    ((f"plimsoll_class_part_of_work{{{_POOL}}}", "{{class}}"),),
                ),
                Panel(
                    "Requests sampled, by result",
                    "reqps",
                    (
                        (
                            _rate("plimsoll_sampled_requests_total", "class, result", _POOL),
                            "{{class}} {{result}}",
                        ),
                    ),
                    "A random fifth of all.",
                ),
            ),
        ),
    ),
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
                _number("Ready", f'plimsoll_replica_state{{{_REPLICA}, state="ready"}}'),
                _number("Drained", f"plimsoll_replica_drained{{{_REPLICA}}}"),
                _number("Stale", f"plimsoll_replica_stale{{{_REPLICA}}}"),
                _number("Weight", f"plimsoll_replica_weight{{{_REPLICA}}}"),
                _number("Share", f"plimsoll_replica_share_ratio{{{_REPLICA}}}", "percentunit"),
                Panel(
                    "Tier",
                    "short",
                    ((f"plimsoll_replica_tier{{{_REPLICA}}}", "{{tier}}"),),
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
                            _rate("plimsoll_replica_requests_total", "result", _REPLICA),
                            "{{result}}",
                        ),
                        (
                            f"plimsoll_replica_capacity_requests_per_second{{{_REPLICA}}}",
                            "capacity",
                        ),
                    ),
                ),
                Panel(
                    "Tokens a second",
                    "short",
                    (
                        (_rate("plimsoll_replica_tokens_total", "replica", _REPLICA), "load"),
                        (
                            f"plimsoll_replica_capacity_tokens_per_second{{{_REPLICA}}}",
                            "capacity",
                        ),
                    ),
                ),
                Panel(
                    "Share, relative to capacity",
                    "short",
                    (
                        (
                            f"job_pool_replica:plimsoll_share_of_capacity:ratio{{{_REPLICA}}}",
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
                        (f"plimsoll_replica_latency_p50_seconds{{{_REPLICA}}}", "p50"),
                        (f"plimsoll_replica_latency_p99_seconds{{{_REPLICA}}}", "p99"),
                        (f"plimsoll_replica_latency_mean_seconds{{{_REPLICA}}}", "mean"),
                    ),
                ),
                Panel(
                    "In flight and waiting",
                    "short",
                    (
                        (f"plimsoll_replica_in_flight_requests{{{_REPLICA}}}", "in flight"),
                        (
                            f"plimsoll_replica_queued_texts{{{_REPLICA}}}"
                            f" or plimsoll_replica_queued_requests{{{_REPLICA}}}",
                            "waiting",
                        ),
                    ),
                ),
                Panel(
                    "Scrapes",
                    "short",
                    (
                        (f"plimsoll_replica_scrape_age_seconds{{{_REPLICA}}}", "age in seconds"),
                        (
                            "increase(plimsoll_replica_scrape_failures_total"
                            f"{{{_REPLICA}}}[$__rate_interval])",
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
                        (f"plimsoll_replica_gpu_memory_used_ratio{{{_REPLICA}}}", "{{gpu}}"),
                        (f"plimsoll_replica_gpu_memory_limit_ratio{{{_REPLICA}}}", "{{limit}}"),
                    ),
                ),
                Panel(
                    "Bytes",
                    "bytes",
                    (
                        (f"plimsoll_replica_gpu_memory_used_bytes{{{_REPLICA}}}", "{{gpu}} used"),
                        (f"plimsoll_replica_gpu_memory_total_bytes{{{_REPLICA}}}", "{{gpu}}"),
                    ),
                    "No series where a server tells only a part.",
                ),
                Panel(
                    "Left of its share",
                    "percentunit",
                    ((f"plimsoll_replica_gpu_memory_guard_ratio{{{_REPLICA}}}", "left"),),
                    "0: it is cut.",
                ),
            ),
        ),
    ),
)

_JOB: Final = 'job="$job"'

XDS: Final = Board(
    "xds",
    "Plimsoll / xDS",
    "The way from a change to Envoys, Envoys themselves, and the control plane's own health.",
    ("job",),
    (
        Row(
            "From a change to Envoys",
            (
                Panel(
                    "Until all have acknowledged",
                    "s",
                    (
                        (_quantile(0.5, "plimsoll_xds_convergence_seconds", "job", _JOB), "p50"),
                        (_quantile(0.99, "plimsoll_xds_convergence_seconds", "job", _JOB), "p99"),
                        (f"plimsoll_xds_oldest_change_seconds{{{_JOB}}}", "oldest under way"),
                    ),
                ),
                Panel(
                    "Until written",
                    "s",
                    ((_quantile(0.99, "plimsoll_xds_push_seconds", "job", _JOB), "p99"),),
                ),
                Panel(
                    "Clients",
                    "short",
                    (
                        (f"plimsoll_xds_nodes{{{_JOB}}}", "connected"),
                        (f"plimsoll_xds_nodes_rejecting{{{_JOB}}}", "rejecting"),
                        (f"plimsoll_xds_streams_behind{{{_JOB}}}", "behind"),
                        (f"plimsoll_xds_queue_depth{{{_JOB}}}", "waiting to be sent to"),
                    ),
                ),
                Panel(
                    "Acknowledged",
                    "short",
                    ((_rate("plimsoll_xds_acknowledgements_total", "type", _JOB), "{{type}}"),),
                ),
                Panel(
                    "Rejected",
                    "short",
                    ((_rate("plimsoll_xds_rejections_total", "type", _JOB), "{{type}}"),),
                ),
                Panel(
                    "Sent",
                    "Bps",
                    ((_rate("plimsoll_xds_sent_bytes_total", "type", _JOB), "{{type}}"),),
                ),
            ),
        ),
        Row(
            "Envoys",
            (
                Panel(
                    "Connected to the control plane",
                    "short",
                    (("envoy_control_plane_connected_state", "{{instance}}"),),
                ),
                Panel(
                    "Requests of clients",
                    "reqps",
                    (
                        (
                            "sum by (instance, envoy_response_code_class)"
                            " (rate(envoy_http_downstream_rq_xx[$__rate_interval]))",
                            "{{instance}} {{envoy_response_code_class}}xx",
                        ),
                    ),
                ),
                Panel(
                    "p99 of tries",
                    "ms",
                    (
                        (
                            "histogram_quantile(0.99, sum by (envoy_cluster_name, le)"
                            " (rate(envoy_cluster_upstream_rq_time_bucket[$__rate_interval])))",
                            "{{envoy_cluster_name}}",
                        ),
                    ),
                ),
                Panel(
                    "Retries",
                    "reqps",
                    (
                        (
                            "sum by (envoy_cluster_name)"
                            " (rate(envoy_cluster_upstream_rq_retry[$__rate_interval]))",
                            "{{envoy_cluster_name}}",
                        ),
                    ),
                ),
                Panel(
                    "Healthy replicas",
                    "short",
                    (
                        (
                            "min by (envoy_cluster_name) (envoy_cluster_membership_healthy)",
                            "{{envoy_cluster_name}}",
                        ),
                    ),
                    "As the Envoy sees it that sees the fewest.",
                ),
                Panel(
                    "Ejected replicas",
                    "short",
                    (
                        (
                            "max by (envoy_cluster_name)"
                            " (envoy_cluster_outlier_detection_ejections_active)",
                            "{{envoy_cluster_name}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "The control plane itself",
            (
                Panel(
                    "Lag of the event loop, and decisions",
                    "s",
                    (
                        (
                            _quantile(0.99, "plimsoll_event_loop_lag_seconds", "job", _JOB),
                            "lag p99",
                        ),
                        (
                            _quantile(0.99, "plimsoll_decision_seconds", "job", _JOB),
                            "decision p99",
                        ),
                    ),
                ),
                Panel(
                    "CPU",
                    "percentunit",
                    ((f"rate(process_cpu_seconds_total{{{_JOB}}}[$__rate_interval])", "cores"),),
                ),
                Panel(
                    "Memory",
                    "bytes",
                    ((f"process_resident_memory_bytes{{{_JOB}}}", "resident"),),
                ),
                Panel(
                    "Scrapes of replicas",
                    "short",
                    ((_rate("plimsoll_scrapes_total", "result", _JOB), "{{result}}"),),
                ),
                Panel(
                    "Registry",
                    "short",
                    (
                        (f"plimsoll_store_queue_depth{{{_JOB}}}", "waiting"),
                        (_rate("plimsoll_store_writes_total", "result", _JOB), "{{result}}"),
                    ),
                ),
                Panel(
                    "Open files",
                    "short",
                    (
                        (f"process_open_fds{{{_JOB}}}", "open"),
                        (f"process_max_fds{{{_JOB}}}", "limit"),
                    ),
                ),
            ),
        ),
    ),
)

BOARDS: Final = (FLEET, POOL, REPLICA, XDS)
