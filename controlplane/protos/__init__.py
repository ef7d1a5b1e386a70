"""Envoy's hot messages, and those of Istio and KEDA, on protobuf's own runtime.

All other messages of Envoy are built with envoy-data-plane. `envoy_pb2`, `istio_pb2` and `keda_pb2`
are generated from the ``.proto`` files beside them: see ``make protos``.
"""
