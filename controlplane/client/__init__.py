"""A typed, asynchronous client of the REST API: for scripts, controllers and the command line.

```python
import asyncio
import os

from controlplane.client import Client, ConflictError


async def main() -> None:
    async with Client("http://127.0.0.1:8080", token=os.environ.get("PLIMSOLL_TOKEN")) as client:
        await client.put_replica("minilm", "c", {"address": "10.0.0.13:8080"})
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

from controlplane.api.schema import *  # noqa: F403 - what is answered is part of the client
from controlplane.client.client import Client as Client
from controlplane.client.client import Previews as Previews
from controlplane.client.errors import *  # noqa: F403
from controlplane.client.events import Event as Event
