"""Everything on one machine: a control plane, replicas and Envoys, load, and what comes of it.

What runs here are processes, and they are spoken to only as anybody would: over the control
plane's REST API, Envoy's admin interface, and HTTP. In comes how long and how much; out come a live
table and one result.
"""
