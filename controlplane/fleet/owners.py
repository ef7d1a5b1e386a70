"""Whose a replica is: the token that registered it, and nobody's else to change by a token like it.

A replica that the API got without a token, or from a control plane that did not note the token yet,
is nobody's: any token may change it, and the first that puts it has it.
"""

from collections.abc import Iterator

from controlplane.fleet.commands import (
    Command,
    DeleteReplica,
    Drain,
    Heartbeat,
    PutReplica,
    PutReplicas,
    Undrain,
)
from controlplane.fleet.layers import Source
from controlplane.fleet.state import Fleet, Pool, Refused, Replica


def refuse_foreign(fleet: Fleet, command: Command, who: str) -> None:
    """Refuse a command that changes what somebody else registered.

    Args:
        fleet: That it is about to be applied to.
        command: What is asked.
        who: The name of the token that asks.

    Raises:
        Refused: Of the kind "forbidden".
    """
    for replica in _changed(fleet, command):
        if (whose := _other_owner(replica, who)) is not None:
            raise Refused(
                "forbidden",
                f"{whose} replica {replica.id!r}; the token {who!r} may only change what it"
                " registered",
                replica=replica.id,
            )


def _other_owner(replica: Replica, who: str) -> str | None:
    """The begin of a sentence that says who else a replica is of; None where nobody else's."""
    if replica.layers.api is None:
        is_found = replica.source is Source.DISCOVERY
        return f"{replica.found_by} found" if is_found else "the config file declares"
    owner = replica.layers.owner
    return None if owner in (None, who) else f"the token {owner!r} registered"


def _changed(fleet: Fleet, command: Command) -> Iterator[Replica]:
    """The replicas that a command is about, as they are."""
    if (pool := fleet.pools.get(command.pool)) is None:
        return
    match command:
        case PutReplica(_, id_, settings):
            yield from _put(pool, PutReplicas(pool.name, {id_: settings}))
        case PutReplicas():
            yield from _put(pool, command)
        case DeleteReplica(_, id_) | Drain(_, id_) | Undrain(_, id_) | Heartbeat(_, id_):
            if (replica := pool.replicas.get(id_)) is not None:
                yield replica


def _put(pool: Pool, command: PutReplicas) -> Iterator[Replica]:
    for id_, settings in command.replicas.items():
        if (replica := pool.replicas.get(id_)) is not None:
            yield replica
        # One that was found makes room for one that is put at its address.
        there = pool.replicas.at(settings.address)
        if there is not None and there.id != id_ and there.source is Source.DISCOVERY:
            yield there
