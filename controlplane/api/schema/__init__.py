"""What the control plane and its clients exchange: one set of models for both sides.

The server validates requests with these models, the client reads answers with them, and the OpenAPI
document is generated from them. Pure: no HTTP library is imported here.
"""

from controlplane.api.schema.answers import *  # noqa: F403 - together they are the schema
from controlplane.api.schema.pools import *  # noqa: F403
from controlplane.api.schema.replicas import *  # noqa: F403
from controlplane.api.schema.requests import *  # noqa: F403
