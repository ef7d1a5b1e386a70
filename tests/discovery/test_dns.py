"""Replicas by DNS, asked of a real server over real sockets."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import dns.name
import dns.rcode
import pytest

from controlplane.config import DnsSettings, validated
from controlplane.discovery import Found, SourceError
from controlplane.discovery import dns as dns_source
from controlplane.discovery.dns import DnsSource
from tests.discovery.dns_server import DnsServer, dns_server


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with dns_server() as running:
        running.records[("tei.svc", "A")] = (60, ["10.0.0.2", "10.0.0.1"])
        running.records[("tei.svc", "AAAA")] = (60, [])
        yield running


def source(server: DnsServer, **settings: Any) -> DnsSource:
    data = {"name": "tei.svc", "port": 8080} if "srv" not in settings else {}
    where = {"server": f"127.0.0.1:{server.port}"}
    return DnsSource(validated(DnsSettings, {**data, **where, **settings}))


async def look(server: DnsServer, **settings: Any) -> Found:
    async with aclosing(source(server, **settings).sets()) as sets:
        return await anext(sets)


async def addresses(server: DnsServer, **settings: Any) -> dict[str, str]:
    found = await look(server, **settings)
    return {id_: str(replica.address) for id_, replica in found.replicas.items()}


async def test_every_address_of_a_name_is_a_replica(server: DnsServer) -> None:
    server.records[("tei.svc", "AAAA")] = (60, ["fd00::1"])
    assert await addresses(server) == {
        "10.0.0.1-8080": "10.0.0.1:8080",
        "10.0.0.2-8080": "10.0.0.2:8080",
        "v6-fd00--1-8080": "[fd00::1]:8080",
    }


async def test_one_family_alone_may_be_asked_for(server: DnsServer) -> None:
    server.rcodes[("tei.svc", "AAAA")] = dns.rcode.SERVFAIL
    assert set(await addresses(server, family="ipv4")) == {"10.0.0.1-8080", "10.0.0.2-8080"}
    assert server.asked == {("udp", "tei.svc", "A"): 1}


async def test_slots_and_locality_are_those_of_the_settings(server: DnsServer) -> None:
    found = await look(server, slots=4, locality={"region": "eu"})
    assert {(replica.slots, replica.locality.region) for replica in found.replicas.values()} == {
        (4, "eu")
    }


async def test_a_name_that_does_not_exist_is_an_empty_set_that_says_so(server: DnsServer) -> None:
    assert await look(server, name="other.svc") == Found({}, "other.svc has no such records")


async def test_a_name_without_addresses_is_an_empty_set(server: DnsServer) -> None:
    server.records[("tei.svc", "A")] = (60, [])
    assert await look(server) == Found({}, "tei.svc has no such records")


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_a_server_that_fails_is_no_empty_set(
    server: DnsServer, rcode: dns.rcode.Rcode
) -> None:
    server.rcodes[("tei.svc", "A")] = rcode
    sentence = f"the name servers failed for A records of tei.svc: .*{rcode.name}"
    with pytest.raises(SourceError, match=sentence):
        await look(server)


async def test_one_family_that_fails_leaves_no_set_that_lacks_it(server: DnsServer) -> None:
    server.rcodes[("tei.svc", "AAAA")] = dns.rcode.SERVFAIL
    with pytest.raises(SourceError, match=r"AAAA records of tei\.svc"):
        await look(server)


async def test_a_server_that_does_not_answer_is_no_empty_set(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_source, "LOOKUP_SECONDS", 0.3)
    server.silent = True
    with pytest.raises(SourceError, match=r"no name server answered for A records of tei\.svc"):
        await look(server)


async def test_an_answer_too_long_for_udp_is_had_over_tcp(server: DnsServer) -> None:
    many = [f"10.1.{block}.{host}" for block in range(2) for host in range(100)]
    server.records[("tei.svc", "A")] = (60, many)
    assert len(await addresses(server)) == 200
    assert server.asked["tcp", "tei.svc", "A"] == 1


async def test_addresses_where_no_replica_may_be_are_not_used_and_told(server: DnsServer) -> None:
    server.records[("tei.svc", "A")] = (60, ["10.0.0.1", "169.254.169.254"])
    found = await look(server)
    assert set(found.replicas) == {"10.0.0.1-8080"}
    assert found.problem is not None
    assert "169.254.169.254 is not used: address: 169.254.169.254 is link-local" in found.problem


async def test_the_targets_of_a_service_are_replicas_at_their_ports(server: DnsServer) -> None:
    server.records[("_http._tcp.tei", "SRV")] = (
        60,
        ["0 10 9001 one.svc.", "0 90 9002 one.svc.", "0 0 9001 two.svc."],
    )
    server.records[("one.svc", "A")] = (60, ["10.0.0.1"])
    server.records[("two.svc", "A")] = (60, ["10.0.0.2"])
    found = await look(server, srv="_http._tcp.tei", family="ipv4")
    assert set(found.replicas) == {"10.0.0.1-9001", "10.0.0.1-9002", "10.0.0.2-9001"}
    # Weights say nothing about how much a replica computes at once.
    assert {replica.slots for replica in found.replicas.values()} == {None}


async def test_targets_that_stand_by_are_no_replicas(server: DnsServer) -> None:
    server.records[("_http._tcp.tei", "SRV")] = (60, ["0 0 80 one.svc.", "1 0 80 two.svc."])
    server.records[("one.svc", "A")] = (60, ["10.0.0.1"])
    server.records[("two.svc", "A")] = (60, ["10.0.0.2"])
    assert set(await addresses(server, srv="_http._tcp.tei")) == {"10.0.0.1-80"}


async def test_a_service_that_is_decidedly_not_there_is_an_empty_set(server: DnsServer) -> None:
    server.records[("_http._tcp.tei", "SRV")] = (60, ["0 0 0 ."])
    assert await addresses(server, srv="_http._tcp.tei") == {}
    assert server.asked == {("udp", "_http._tcp.tei", "SRV"): 1}


async def test_a_target_that_cannot_be_looked_up_leaves_no_set_that_lacks_it(
    server: DnsServer,
) -> None:
    server.records[("_http._tcp.tei", "SRV")] = (60, ["0 0 80 one.svc.", "0 0 80 two.svc."])
    server.records[("one.svc", "A")] = (60, ["10.0.0.1"])
    server.rcodes[("two.svc", "A")] = dns.rcode.SERVFAIL
    with pytest.raises(SourceError, match=r"A records of two\.svc\."):
        await look(server, srv="_http._tcp.tei")


@pytest.mark.parametrize(
    ("ttl", "interval", "slept"),
    [(5, "30s", 5.0), (0, "30s", 1.0), (3600, "30s", 30.0), (3600, "500ms", 0.5)],
)
async def test_records_are_looked_up_again_when_they_end_within_bounds(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch, ttl: int, interval: str, slept: float
) -> None:
    pauses = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("controlplane.discovery.dns.asyncio.sleep", sleep)
    server.records[("tei.svc", "A")] = (ttl, ["10.0.0.1"])
    async with aclosing(source(server, family="ipv4", interval=interval).sets()) as sets:
        await anext(sets)
        server.records[("tei.svc", "A")] = (ttl, ["10.0.0.9"])
        assert set((await anext(sets)).replicas) == {"10.0.0.9-8080"}
    assert pauses == [slept]


async def test_a_name_is_tried_below_the_domains_of_the_machine_and_a_dot_forbids_it(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.records[("tei.prod.svc", "A")] = (60, ["10.0.0.7"])
    real = dns_source._resolver

    def searching(where: Any) -> Any:
        resolver = real(where)
        resolver.search = [dns.name.from_text("prod.svc")]
        return resolver

    monkeypatch.setattr(dns_source, "_resolver", searching)
    assert set(await addresses(server, name="tei", family="ipv4")) == {"10.0.0.7-8080"}
    assert await addresses(server, name="tei.", family="ipv4") == {}


async def test_many_targets_are_looked_up_side_by_side_and_not_all_at_once(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"r{number}.svc" for number in range(100)]
    server.records[("_http._tcp.tei", "SRV")] = (60, [f"0 0 80 {name}." for name in names])
    for number, name in enumerate(names):
        server.records[(name, "A")] = (60, [f"10.0.1.{number}"])
    together = most = 0
    real = dns_source._ask

    async def counting(*arguments: Any) -> Any:
        nonlocal together, most
        together += 1
        most = max(most, together)
        try:
            return await real(*arguments)
        finally:
            together -= 1

    monkeypatch.setattr(dns_source, "_ask", counting)
    assert len(await addresses(server, srv="_http._tcp.tei", family="ipv4")) == 100
    assert 1 < most <= dns_source.AT_ONCE


def test_who_asks_no_name_server_does_not_load_what_asks_them() -> None:
    code = "import sys, controlplane.app; sys.exit('dns' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
