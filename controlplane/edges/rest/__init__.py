"""The REST API: strict JSON over HTTP in, commands on the plane out, and what it knows as JSON.

Nothing about the fleet is decided here. Whatever a client sends is answered with a status and one
sentence, and changes nothing unless all of it is right.
"""

from controlplane.edges.binding import BindError
from controlplane.edges.rest.described import described
from controlplane.edges.rest.server import Limits, RestServer

__all__ = ["BindError", "Limits", "RestServer", "described"]
