"""What a fault costs: requests that fail, and the time until the last one that failed or was slow.

In come scenarios (a fleet of real processes, a load, and what happens to them) and contenders; out
come failed requests, times and ratios as a table and files. ``make bench-failover`` runs it.
"""
