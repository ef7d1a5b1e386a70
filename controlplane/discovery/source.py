"""What a source of replicas is: something that yields complete sets until it fails."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Protocol

from controlplane.config import Address, ReplicaSettings, SettingsError, parse_address, validated


class SourceError(Exception):
    """The replicas cannot be known now; the text says why, in a sentence for an operator."""


@dataclass(frozen=True, slots=True)
class Found:
    """All replicas that a source has at one moment.

    Attributes:
        replicas: By an id that stays with a replica: a file's, a container's name, an address.
        problem: What it saw and cannot use, in a sentence; None if that is nothing.
        is_whole: False where a part was never read: what is not in the others may be in that, and
            stays.
    """

    replicas: Mapping[str, ReplicaSettings]
    problem: str | None = None
    is_whole: bool = True


class Source(Protocol):
    """One place where replicas are found."""

    def sets(self) -> AsyncGenerator[Found, None]:
        """Yield the complete set at once, and again whenever it was looked at.

        It sleeps between two looks, and returns never. When it fails it is called anew after a
        while, longer each time; what it must remember over that it keeps in itself.

        Raises:
            SourceError: The set cannot be known. The last one holds on: a part of it, or an empty
                one, must not be yielded as a whole one in its place.
        """


def id_of(address: Address) -> str:
    """An id for a replica that is only known by its address; no two have the same."""
    host = f"v6-{address.host.replace(':', '-')}" if ":" in address.host else address.host
    return f"{host}-{address.port}"


def address_of(host: str, port: int | str) -> Address:
    """Check the address of a replica, or raise `ValueError`."""
    return parse_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def replica(data: Mapping[str, object]) -> ReplicaSettings:
    """Make settings from what a source has read, checked as a user's; absent keys are left out."""
    try:
        return validated(
            ReplicaSettings, {key: each for key, each in data.items() if each is not None}
        )
    except SettingsError as error:
        raise ValueError(str(error)) from None


def listed(problems: list[str]) -> str | None:
    """Several problems as one: the first, and how many more there are."""
    if not problems:
        return None
    return problems[0] if len(problems) == 1 else f"{problems[0]} (and {len(problems) - 1} more)"
