"""What the xDS server costs: ours beside another way to do the same, in one run.

Servers and clients are processes of their own that take orders as lines of JSON. Connections are
real, Envoys are not: thousands of them would not fit on one machine. ``make bench-xds`` runs all.
"""
