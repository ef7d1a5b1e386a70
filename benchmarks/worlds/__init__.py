"""Models of model servers, of fleets of them, and of the traffic that they get. No I/O, no clock.

In come requests, each a sequence of texts with a number of tokens, and the time; out come answers
at times that a server's own source says, and the metrics that it would expose. The simulation
(`benchmarks.simulation`) plays them in simulated time, `benchmarks.balance` behind real proxies.
"""
