"""Envoy's hot messages on protobuf's own runtime; everything else is built with envoy-data-plane.

`envoy_pb2.py` and `envoy_pb2.pyi` are generated from `envoy.proto`: see ``make protos``.
"""
