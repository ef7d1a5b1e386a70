"""Open-loop load for one's own fleet: what it answered, and what holds it back.

In come targets, rates and texts; out come latencies from when each request was meant to leave, the
part of the requests that each replica got, the capacity at an objective, and the bottleneck in
words. `generator`, `watch` and `run` send and look; `plot` draws; the rest is pure.
"""
