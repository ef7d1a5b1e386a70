"""When a replica that is declared again is the process that it was, and when it is another one."""

from typing import Protocol

from controlplane.settings import Address


class Process(Protocol):
    """What tells one process from another."""

    @property
    def address(self) -> Address:
        """Where it is."""

    @property
    def instance(self) -> str | None:
        """Which one it is there; None where it does not say."""


def is_same_process(known: Process, declared: Process) -> bool:
    """Whether what is declared now is the process that is known.

    It is another one at another address, or if both say which they are and say differently. One
    that does not say is the one at its address.
    """
    if known.address != declared.address:
        return False
    return None in (known.instance, declared.instance) or known.instance == declared.instance
