"""Who exists: pools and replicas, the commands that change them, leases and generations.

In come commands and the time; out comes a new `Fleet`, or a `Refused` that leaves the old one.
"""
