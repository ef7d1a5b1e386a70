"""How well a pool is balanced, in simulated time: minutes of load in a second, exactly repeatable.

In come scenarios, contenders and seeds; out come latencies as ratios to the best peer. Replicas
are queues in front of slots, sidecars choose as Envoy does and know only their own requests; the
weighing is the real one, on readings such as a scrape yields. Scenarios, arrivals and lengths are
those of ``make bench-balance``, whose repetitions are the seeds; there an estimator that was tried
here runs behind real Envoys. Run ``python -m benchmarks.simulation``.
"""
