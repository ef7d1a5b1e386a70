"""A typed, asynchronous client of the REST API: for scripts, controllers and the command line.

```python
import asyncio
import os

from controlplane.client import Client, ConflictError


async def main() -> None:
    async with Client("http://127.0.0.1:8080", token=os.environ.get("PLIMSOLL_TOKEN")) as client:
        await client.put_replica("minilm", "c", {"address": "10.0.0.13:8080", "slots": 2})
        async for replica in client.each_replica("minilm", labels=["rack=7"]):
            print(replica.id, replica.state, replica.share, replica.why)
        try:
            await client.delete_replica("minilm", "a")
        except ConflictError as error:
            print(error.detail)


asyncio.run(main())
```

Answers are frozen models. An unknown key of a newer control plane is kept. Every failure is a
`ClientError`.
"""

from controlplane.api.schema.answers import (
    Answer,
    Audit,
    AuditEntry,
    Difference,
    Node,
    NodeList,
    NodeLocality,
    NodeType,
    Preview,
    Put,
    RefusedNode,
    Rejection,
    Sender,
)
from controlplane.api.schema.pools import (
    ClassScaling,
    Counts,
    Pool,
    PoolHistory,
    PoolResources,
    Scaling,
    ServedClass,
    Traffic,
    TrafficPoint,
)
from controlplane.api.schema.replicas import (
    GpuReading,
    History,
    HistoryEntry,
    LoadReports,
    Readings,
    Replica,
    ReplicaInShort,
    Scrape,
    Step,
)
from controlplane.client.client import Client, Previews
from controlplane.client.errors import (
    BadRequestError,
    ClientError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    NotListeningError,
    PreconditionFailedError,
    ProblemError,
    TimedOutError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
    UnsendableError,
)
from controlplane.client.events import (
    Event,
    Missed,
    PartingChanged,
    PoolChanged,
    ReplicaChanged,
    StateShown,
)

__all__ = [
    "Answer",
    "Audit",
    "AuditEntry",
    "BadRequestError",
    "ClassScaling",
    "Client",
    "ClientError",
    "ConflictError",
    "Counts",
    "Difference",
    "Event",
    "ForbiddenError",
    "GpuReading",
    "History",
    "HistoryEntry",
    "InvalidError",
    "LoadReports",
    "Missed",
    "Node",
    "NodeList",
    "NodeLocality",
    "NodeType",
    "NotFoundError",
    "NotListeningError",
    "PartingChanged",
    "Pool",
    "PoolChanged",
    "PoolHistory",
    "PoolResources",
    "PreconditionFailedError",
    "Preview",
    "Previews",
    "ProblemError",
    "Put",
    "Readings",
    "RefusedNode",
    "Rejection",
    "Replica",
    "ReplicaChanged",
    "ReplicaInShort",
    "Scaling",
    "Scrape",
    "Sender",
    "ServedClass",
    "StateShown",
    "Step",
    "TimedOutError",
    "Traffic",
    "TrafficPoint",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnreachableError",
    "UnsendableError",
]
