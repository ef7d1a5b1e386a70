"""What Envoy should hold: pure builders, one file per xDS type, and the versioned catalog of them.

In come pools, replicas and their weights; out come encoded resources whose versions are hashes of
their content, so that the same state has the same versions in every process.
"""
