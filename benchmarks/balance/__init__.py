"""How well a pool is balanced: the same load through contenders, one after the other.

In come scenarios and contenders; out come latencies, as a table and as files with the machine they
were measured on. Replicas are simulated and sleep, so that two cores can play a fleet; proxies,
connections and the control plane are real. Run it with ``make bench-balance``.
"""
