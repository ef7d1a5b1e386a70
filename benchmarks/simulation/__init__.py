"""How well a pool is balanced, in simulated time: minutes of load in a second, exactly repeatable.

In come scenarios (`benchmarks.worlds`), contenders and seeds; out come latencies by class, as
ratios to the best peer. Servers are models made from the real ones' sources, dispatchers choose as
Envoy does and know only their own requests, and a control plane gets what real Envoys and real
servers tell it. Run ``python -m benchmarks.simulation``.
"""
