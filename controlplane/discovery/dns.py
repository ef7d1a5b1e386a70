"""Replicas by DNS: the addresses of a name, or the targets of a service (RFC 2782).

That a name does not exist, or has no records, is an answer: the empty set. That no server answers,
or that the servers fail (SERVFAIL), is none: what was found before holds on.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Coroutine, Iterable
from typing import Any, Final, TypeVar

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver
from dns.name import Name
from dns.rdatatype import RdataType

from controlplane.config import Address, DnsSettings, ReplicaSettings
from controlplane.discovery.source import Found, SourceError, address_of, id_of, listed, replica

T = TypeVar("T")

SHORTEST_PAUSE: Final = 1.0
"""Seconds between two look-ups; records of a cache that runs out may have a TTL of 0."""

LOOKUP_SECONDS: Final = 5.0
"""For one question, repeated to the other servers and over TCP included."""

AT_ONCE: Final = 32
"""Targets of SRV records that are looked up at the same time."""

_FAMILIES: Final = {
    "any": (RdataType.A, RdataType.AAAA),
    "ipv4": (RdataType.A,),
    "ipv6": (RdataType.AAAA,),
}

_Records = tuple[list[tuple[str, int]], float]
"""Hosts with ports, and the seconds for which they hold."""


class DnsSource:
    """Asks for a name again when its records have run out."""

    def __init__(self, settings: DnsSettings) -> None:
        self._settings = settings

    async def sets(self) -> AsyncGenerator[Found, None]:
        """Yield all replicas of the name; see `Source`."""
        resolver = _resolver(self._settings.server)
        while True:
            found, ttl = await self._look_up(resolver)
            yield found
            await asyncio.sleep(min(max(ttl, SHORTEST_PAUSE), self._settings.interval))

    async def _look_up(self, resolver: dns.asyncresolver.Resolver) -> tuple[Found, float]:
        settings = self._settings
        if settings.srv is not None:
            hosts, ttl = await self._of_service(resolver, settings.srv)
        else:
            assert settings.name is not None  # noqa: S101 - one of the two is given
            assert settings.port is not None  # noqa: S101 - and then this is
            addresses, ttl = await self._of_name(resolver, settings.name)
            hosts = [(address, settings.port) for address in addresses]
        found: dict[str, ReplicaSettings] = {}
        problems = [] if hosts else [f"{settings.srv or settings.name} has no such records"]
        for host, port in hosts:
            address = address_of(host, port)
            try:
                found[id_of(address)] = self._replica(address)
            except ValueError as error:
                problems.append(f"{host} is not used: {error}")
        return Found(found, listed(problems)), ttl

    def _replica(self, address: Address) -> ReplicaSettings:
        locality = self._settings.locality.model_dump(exclude_none=True)
        return replica(
            {"address": str(address), "slots": self._settings.slots, "locality": locality}
        )

    async def _of_service(self, resolver: dns.asyncresolver.Resolver, service: str) -> _Records:
        """The targets that come first; those of higher numbers stand by and are not used.

        Weights are not looked at: what a replica can carry is measured.
        """
        answer = await _ask(resolver, service, RdataType.SRV)
        records = list(answer.rrset) if answer is not None and answer.rrset is not None else []
        first = min((each.priority for each in records), default=0)
        targets = {(each.target, each.port) for each in records if each.priority == first}
        # A target of "." says that the service is decidedly not there.
        named = sorted((each for each in targets if each[0] != dns.name.root), key=str)
        gate = asyncio.Semaphore(AT_ONCE)

        async def of_target(target: Name) -> tuple[list[str], float]:
            async with gate:
                return await self._of_name(resolver, target)

        looked_up = await _all(of_target(target) for target, _ in named)
        hosts = [
            (host, port)
            for (_, port), (addresses, _) in zip(named, looked_up, strict=True)
            for host in addresses
        ]
        return hosts, min([_ttl(answer), *(ttl for _, ttl in looked_up)])

    async def _of_name(
        self, resolver: dns.asyncresolver.Resolver, name: str | Name
    ) -> tuple[list[str], float]:
        # A set that lacks one of the two families would not be complete: both must answer.
        families = _FAMILIES[self._settings.family]
        answers = await _all(_ask(resolver, name, family) for family in families)
        addresses = sorted(
            each.address
            for answer in answers
            if answer is not None
            for each in (answer.rrset if answer.rrset is not None else ())
        )
        return addresses, min(map(_ttl, answers))


def _resolver(server: Address | None) -> dns.asyncresolver.Resolver:
    """One that asks `server`, or as /etc/resolv.conf says now."""
    try:
        resolver = dns.asyncresolver.Resolver(configure=server is None)
    except dns.exception.DNSException as error:
        raise SourceError(f"/etc/resolv.conf cannot be used: {error}") from None
    if server is not None:
        resolver.nameservers = [server.host]
        resolver.port = server.port
    resolver.lifetime = LOOKUP_SECONDS
    return resolver


async def _ask(
    resolver: dns.asyncresolver.Resolver, name: str | Name, kind: RdataType
) -> dns.resolver.Answer | None:
    """Return the answer, with records or without; None if there is no such name.

    A truncated answer is asked for again over TCP.
    """
    question = f"{dns.rdatatype.to_text(kind)} records of {name}"
    # A name as text may stand for one below a domain of resolv.conf; one that an answer gave not.
    search = isinstance(name, str)
    try:
        return await resolver.resolve(name, kind, raise_on_no_answer=False, search=search)
    except dns.resolver.NXDOMAIN:
        return None
    except dns.resolver.LifetimeTimeout:
        raise SourceError(f"no name server answered for {question}") from None
    except dns.resolver.NoNameservers as error:
        # Each error is a tuple of which the last part but one says what was wrong.
        errors = ", ".join(dict.fromkeys(str(attempt[3]) for attempt in error.kwargs["errors"]))
        raise SourceError(f"the name servers failed for {question}: {errors}") from None
    except (dns.exception.DNSException, OSError) as error:
        raise SourceError(f"{question} could not be looked up: {error}") from None


async def _all(questions: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The answers to all of them, or the first failure once all have come."""
    answers: list[T] = []
    for outcome in await asyncio.gather(*questions, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
        answers.append(outcome)
    return answers


def _ttl(answer: dns.resolver.Answer | None) -> float:
    """Seconds for which an answer holds; of a name that does not exist nobody says."""
    return math.inf if answer is None else float(answer.chaining_result.minimum_ttl)
