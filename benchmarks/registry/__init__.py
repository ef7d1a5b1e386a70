"""What the registry costs: many replicas registered, kept alive, restarted, and one changed.

``make bench-registry`` runs it; docs/benchmarks.md says how it measures.
"""
