"""What the fleet refuses: loops, removals that would empty a pool, changes of others' replicas."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Final

from controlplane.config import Address, ReplicaSettings
from controlplane.config.addresses import Listeners
from controlplane.fleet.state import (
    Command,
    Fleet,
    OfReplica,
    Pool,
    PutReplica,
    PutReplicas,
    Refused,
    Replica,
    Source,
)

TOGETHER: Final = 10.0
"""Seconds within which removals count as one step."""


def departures_with(pool: Pool, now: float, *, force: bool) -> tuple[float, ...]:
    """List when replicas of a pool were removed lately, with one more that is removed now.

    An Envoy drops a removed replica at once, so a script that removes too many is an outage. A
    drained replica gets no requests, and its removal is not counted.

    Raises:
        Refused: It is not the first, more than half of the pool would be gone with it, and nobody
            forces it.
    """
    recent = tuple(at for at in pool.departures if now - at < TOGETHER)
    gone, there = len(recent) + 1, pool.serving + len(recent)
    if gone > 1 and gone * 2 > there and not force:
        raise Refused(
            "conflict",
            f"pool {pool.name!r} would have lost {gone} of {there} replicas within"
            f" {TOGETHER:g} s; drain them first, wait, or force it",
        )
    return (*recent, now)


def unless_most_move(pool: Pool, wanted: Mapping[str, ReplicaSettings]) -> None:
    """Refuse to move most of the serving replicas in one step, to where nobody is ready yet."""
    known = {id_: replica for id_ in wanted if (replica := pool.replicas.get(id_)) is not None}
    # Who was there before and takes the address of another is no stranger to it.
    places_after = {(wanted[id_].address, wanted[id_].served_at) for id_ in known}
    moved = [
        replica
        for replica in known.values()
        if replica.draining is None
        and (replica.address, replica.settings.served_at) not in places_after
    ]
    if len(moved) > 1 and len(moved) * 2 > (serving := pool.serving):
        raise Refused(
            "conflict",
            f"{len(moved)} of the {serving} replicas that serve pool {pool.name!r} would move to"
            " other addresses in one step, where nobody is ready yet; take smaller steps, add them"
            " under other ids first, or force it",
        )


def listeners_of(fleet: Fleet, counts: Callable[[Pool], bool] = lambda _: True) -> Listeners:
    """Where the pools of a fleet are listened for that count, gateways included."""
    pools = [pool for pool in fleet.pools.values() if counts(pool)]
    found = Listeners((pool.settings.listener.address, f"pool {pool.name!r}") for pool in pools)
    for pool in pools:
        for address in chain(*pool.settings.gateways.values()):
            found.add(address, f"pool {pool.name!r} as its gateway")
    return found


def refuse_loops(fleet: Fleet, listeners: Listeners | None = None) -> None:
    """Refuse a fleet that has a replica where an Envoy listens; None: where its pools say.

    Nor may an ingress have another ingress for its replica: two that have each other would hand
    requests on for ever.
    """
    listeners = listeners_of(fleet) if listeners is None else listeners
    replicas = [
        (pool, replica) for pool in fleet.pools.values() for replica in pool.replicas.values()
    ]
    ingresses = {ingress: of for of in replicas if (ingress := of[1].settings.ingress) is not None}
    for pool, replica in replicas:
        whys = [listeners.refusal(at) for at in replica.settings.places]
        if replica.settings.ingress is not None and replica.address in ingresses:
            whys.append(_no_replica(replica.address, *ingresses[replica.address]))
        if (why := next(filter(None, whys), None)) is not None:
            raise Refused("conflict", f"replica {replica.id!r} of pool {pool.name!r}: {why}")


def crossing(fleet: Fleet, pool: str, settings: ReplicaSettings) -> tuple[str, str] | None:
    """Say why no replica with this ingress may be in a pool: a key, and a sentence.

    Its ingress would hand requests to the ingress of a replica in another pool, or that one to it.
    """
    if (ingress := settings.ingress) is None:
        return None
    for other in fleet.pools.values():
        if other.name == pool:
            continue
        there = other.replicas.at(settings.address)
        if there is not None and there.settings.ingress == settings.address:
            return "address", _no_replica(settings.address, other, there)
        there = other.replicas.at(ingress)
        if there is not None and there.address == ingress and there.settings.ingress is not None:
            return "ingress", (
                f"{ingress} is where replica {there.id!r} of pool {other.name!r} serves, which"
                " has an ingress of its own"
            )
    return None


def _no_replica(address: Address, pool: Pool, replica: Replica) -> str:
    return (
        f"{address} is the ingress of replica {replica.id!r} of pool {pool.name!r}: an ingress"
        " hands requests to a replica, not to another ingress"
    )


def refuse_foreign(fleet: Fleet, command: Command, who: str) -> None:
    """Refuse, as forbidden, a command that changes what another token than `who` registered."""
    for replica in _changed(fleet, command):
        if (whose := _other_owner(replica, who)) is not None:
            raise Refused(
                "forbidden",
                f"{whose} replica {replica.id!r}; the token {who!r} may only change what it"
                " registered",
                replica=replica.id,
            )


def _other_owner(replica: Replica, who: str) -> str | None:
    """The start of a sentence on who else owns a replica; None: `who` does, or no token."""
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
        case OfReplica(_, id_):
            if (replica := pool.replicas.get(id_)) is not None:
                yield replica


def _put(pool: Pool, command: PutReplicas) -> Iterator[Replica]:
    for id_, settings in command.replicas.items():
        if (replica := pool.replicas.get(id_)) is not None:
            yield replica
        # One that was found makes room for one that is put at its address.
        for at in settings.places:
            there = pool.replicas.at(at)
            if there is not None and there.id != id_ and there.source is Source.DISCOVERY:
                yield there
