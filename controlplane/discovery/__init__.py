"""Finds replicas: sources yield complete sets of them, and the plane is told.

A source is one file here, and `source.py` has all that it must do. Nothing about the fleet is
decided here: the plane puts the sets together, drains what is gone and refuses to empty a pool.
"""

from controlplane.discovery.discovery import Discovery, open_source
from controlplane.discovery.source import Found, SourceError
