"""When a replica that is declared again is the process that it was, and when it is another one."""

from controlplane.settings import ReplicaSettings


def is_same_process(known: ReplicaSettings, declared: ReplicaSettings) -> bool:
    """Whether what is declared now is the process that is known.

    It is another one at another address, or if both say which they are and say differently. One
    that does not say is the one at its address.
    """
    if known.address != declared.address:
        return False
    return None in (known.instance, declared.instance) or known.instance == declared.instance
