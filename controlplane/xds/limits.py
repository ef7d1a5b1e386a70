"""How much one client may ask for."""

from collections.abc import Iterable
from typing import Final

from controlplane.xds.errors import ProtocolError

MAX_NAMES: Final = 20_000
"""How many names a client may want, or say that it holds, of one type: more than the clusters of
2,000 pools with eight classes each. All of them are looked at in one go."""

MAX_NAME_LENGTH: Final = 1_024
"""Characters that a resource's name may have."""

MAX_VERSION_LENGTH: Final = 64
"""Characters of a version that a client may claim to hold; ours have 16, and a longer one says as
little as none."""


def limit_names(count: int, names: Iterable[str]) -> None:
    """Check how many names there are now, and the length of the new ones.

    Raises:
        ProtocolError: When there are too many, or one is too long.
    """
    if count > MAX_NAMES:
        raise ProtocolError("RESOURCE_EXHAUSTED", f"more than {MAX_NAMES} resource names")
    if any(len(name) > MAX_NAME_LENGTH for name in names):
        raise ProtocolError(
            "INVALID_ARGUMENT", f"a resource name is longer than {MAX_NAME_LENGTH} characters"
        )
