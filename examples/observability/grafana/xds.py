"""The dashboard of the way to Envoys, and of the control plane itself."""

from typing import Final

from examples.observability.grafana.parts import (
    OF_JOB,
    Board,
    Panel,
    Row,
    quantile,
    rate,
)

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
                        (quantile(0.5, "plimsoll_xds_convergence_seconds", "job", OF_JOB), "p50"),
                        (quantile(0.99, "plimsoll_xds_convergence_seconds", "job", OF_JOB), "p99"),
                        (f"plimsoll_xds_oldest_change_seconds{{{OF_JOB}}}", "oldest under way"),
                    ),
                ),
                Panel(
                    "Until written",
                    "s",
                    ((quantile(0.99, "plimsoll_xds_push_seconds", "job", OF_JOB), "p99"),),
                ),
                Panel(
                    "Clients",
                    "short",
                    (
                        (f"plimsoll_xds_nodes{{{OF_JOB}}}", "connected"),
                        (f"plimsoll_xds_nodes_rejecting{{{OF_JOB}}}", "rejecting"),
                        (f"plimsoll_xds_streams_behind{{{OF_JOB}}}", "behind"),
                        (f"plimsoll_xds_queue_depth{{{OF_JOB}}}", "waiting to be sent to"),
                    ),
                ),
                Panel(
                    "Acknowledged",
                    "short",
                    ((rate("plimsoll_xds_acknowledgements_total", "type", OF_JOB), "{{type}}"),),
                ),
                Panel(
                    "Rejected",
                    "short",
                    ((rate("plimsoll_xds_rejections_total", "type", OF_JOB), "{{type}}"),),
                ),
                Panel(
                    "Sent",
                    "Bps",
                    ((rate("plimsoll_xds_sent_bytes_total", "type", OF_JOB), "{{type}}"),),
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
                            quantile(0.99, "plimsoll_event_loop_lag_seconds", "job", OF_JOB),
                            "lag p99",
                        ),
                        (
                            quantile(0.99, "plimsoll_decision_seconds", "job", OF_JOB),
                            "decision p99",
                        ),
                    ),
                ),
                Panel(
                    "CPU",
                    "percentunit",
                    ((f"rate(process_cpu_seconds_total{{{OF_JOB}}}[$__rate_interval])", "cores"),),
                ),
                Panel(
                    "Memory",
                    "bytes",
                    ((f"process_resident_memory_bytes{{{OF_JOB}}}", "resident"),),
                ),
                Panel(
                    "Scrapes of replicas",
                    "short",
                    ((rate("plimsoll_scrapes_total", "result", OF_JOB), "{{result}}"),),
                ),
                Panel(
                    "Registry",
                    "short",
                    (
                        (f"plimsoll_store_queue_depth{{{OF_JOB}}}", "waiting"),
                        (rate("plimsoll_store_writes_total", "result", OF_JOB), "{{result}}"),
                    ),
                ),
                Panel(
                    "Open files",
                    "short",
                    (
                        (f"process_open_fds{{{OF_JOB}}}", "open"),
                        (f"process_max_fds{{{OF_JOB}}}", "limit"),
                    ),
                ),
            ),
        ),
    ),
)
