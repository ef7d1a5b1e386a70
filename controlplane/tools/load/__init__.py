"""Open-loop load on your own fleet: how fast it answers, and what limits it.

In come targets, rates and texts; out come latencies from when each request was due, the share of
each replica, the capacity at an objective, and the bottleneck in words. `http`,
`generator` and `run` do the I/O; the rest is pure.
"""
