"""A replica at which an Envoy listens for us: requests to it would go round for ever."""

from collections.abc import Callable

from controlplane.fleet.state import Fleet, Pool, Refused
from controlplane.settings.listeners import Listeners


def listeners_of(fleet: Fleet, counts: Callable[[Pool], bool] = lambda _: True) -> Listeners:
    """Where the pools of a fleet are listened for that count."""
    return Listeners(
        (it.settings.listener.address, f"pool {it.name!r}")
        for it in fleet.pools.values()
        if counts(it)
    )


def refuse_loops(fleet: Fleet, listeners: Listeners | None = None) -> None:
    """Refuse a fleet that has a replica where an Envoy listens.

    Args:
        fleet: To be looked at, all of it.
        listeners: Where Envoys listen; None: where the pools of the fleet say.

    Raises:
        Refused: There is one.
    """
    listeners = listeners_of(fleet) if listeners is None else listeners
    for pool in fleet.pools.values():
        for replica in pool.replicas.values():
            if (why := listeners.refusal(replica.address)) is not None:
                raise Refused("conflict", f"replica {replica.id!r} of pool {pool.name!r}: {why}")
