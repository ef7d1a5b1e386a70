"""Changes some settings and leaves the others: read, and put unless somebody else has meanwhile."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from controlplane.client.errors import PreconditionFailedError
from controlplane.client.pools import Pool
from controlplane.client.replicas import Replica

_TRIES: Final = 5

_REQUIRED: Final = frozenset({"model", "listener", "address"})
"""Settings that have no default; put as they are, they override nothing."""

T = TypeVar("T")


def patched(known: Pool | Replica, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be put so that only the changes change.

    What the config file says, and defaults, are left to it: put, they would outlast it.

    Args:
        known: As it is.
        changes: By the name of the setting.
    """
    settings = known.settings
    theirs = {key for key, source in known.sources.items() if source in ("file", "default")}
    return {
        **{key: it for key, it in settings.items() if key not in theirs - _REQUIRED},
        **changes,
    }


async def insisting(put: Callable[[], Awaitable[T]]) -> T:
    """Put, and again when somebody else was faster.

    Raises:
        PreconditionFailedError: Somebody was, every time.
    """
    for _ in range(_TRIES - 1):
        try:
            return await put()
        except PreconditionFailedError:
            continue
    return await put()
