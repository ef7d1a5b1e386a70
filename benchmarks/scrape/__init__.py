"""What it costs to scrape and weigh a thousand replicas once a second, and where that goes.

Replicas are simulated, a few processes with a port for each; the control plane is the real one, a
process of its own. ``make bench-scrape`` runs all.
"""
