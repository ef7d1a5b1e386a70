"""Everything on one machine: control plane, replicas, Envoys, load, and a replica that slows down.

The parts are processes, spoken to only over HTTP: the control plane's REST API, Envoy's admin
interface, and the replicas' own API. In come a duration and a rate; out come a live table and one
result.
"""
