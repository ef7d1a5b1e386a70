"""Versions of sets of resources: equal sets have equal versions, in every process.

A version is the sum of a hash of each resource's name and version, so that a set's version follows
a change of one resource without a look at the others.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Final

_MODULUS: Final = 1 << 64


@lru_cache(maxsize=1 << 16)
def mark(name: str, version: str) -> int:
    """What a resource adds to the version of the sets that it is in."""
    return int.from_bytes(blake2b(f"{name}\0{version}".encode(), digest_size=8).digest(), "big")


def written(total: int) -> str:
    """A sum of marks as clients are shown it."""
    return f"{total % _MODULUS:016x}"
