"""The key discovery of a pool: what it takes, and with which sentence it refuses the rest."""

import pytest

from controlplane.config import Address, DiscoverySettings, DnsSettings, DockerSettings
from tests.config.files import POOL, load, refusal_in_pool

ALL = (
    "discovery: [{dns: {name: tei.svc, port: 8080, interval: 5s}}, {dns: {srv: _http._tcp.tei}},"
    " {docker: {socket: unix:///var/run/docker.sock, label: plimsoll.pool=minilm}},"
    " {directory: {path: replicas.d}}]"
)


def sources(line: str) -> tuple[DiscoverySettings, ...]:
    return load(f"{POOL}    {line}\n").pools[0].discovery


def test_every_kind_of_source_is_read_and_has_a_name() -> None:
    assert [str(source) for source in sources(ALL)] == [
        "dns tei.svc:8080",
        "dns srv _http._tcp.tei",
        "docker plimsoll.pool=minilm at /var/run/docker.sock",
        "directory replicas.d",
    ]


def test_a_pool_has_no_source_unless_it_names_one() -> None:
    assert load(POOL).pools[0].discovery == ()


def test_what_is_not_said_of_dns_is_left_to_the_machine() -> None:
    (only,) = sources("discovery: [{dns: {name: tei.svc, port: 80}}]")
    assert only.dns == DnsSettings(name="tei.svc", port=80)
    assert only.dns.server is None
    assert (only.dns.family, only.dns.interval) == ("any", 30.0)


def test_a_name_server_is_an_address() -> None:
    (only,) = sources('discovery: [{dns: {srv: a.b, server: "10.0.0.2:53"}}]')
    assert only.dns is not None
    assert only.dns.server == Address("10.0.0.2", 53)


def test_the_sockets_path_is_that_of_its_url() -> None:
    (only,) = sources("discovery: [{docker: {label: a}}]")
    assert isinstance(only.source, DockerSettings)
    assert only.source.path == "/var/run/docker.sock"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("{dns: {name: a, port: 1}}", "discovery: must be a list, not a mapping"),
        ("[{}]", "discovery[0]: takes exactly one of dns, docker, directory"),
        ("[{dns: {srv: a}, directory: {path: b}}]", "takes exactly one of dns, docker, directory"),
        ("[{dsn: {srv: a}}]", "discovery[0].dsn: unknown key; did you mean 'dns'?"),
        ("[{dns: null}]", "discovery[0].dns: must be a mapping of keys to values, not null"),
        ("[{dns: {}}]", "discovery[0].dns: takes either name and port, or srv"),
        ("[{dns: {name: a, srv: b, port: 1}}]", "takes either name and port, or srv"),
        ("[{dns: {srv: b, port: 1}}]", "dns.port: SRV records have ports of their own"),
        ("[{dns: {name: a}}]", "dns.port: is required beside name"),
        ("[{dns: {name: 'a b', port: 1}}]", "dns.name: 'a b' must match"),
        ("[{dns: {name: a, port: 0}}]", "dns.port: must be at least 1, not 0"),
        ("[{dns: {name: a, port: 70000}}]", "dns.port: must be at most 65535, not 70000"),
        ("[{dns: {name: a, prot: 1}}]", "dns.prot: unknown key; did you mean 'port'?"),
        ("[{dns: {srv: a, interval: 5}}]", "dns.interval: 5 is not a duration"),
        ("[{dns: {srv: a, server: dns.example:53}}]", "dns.server: 'dns.example:53' is not a name"),
        ("[{dns: {srv: a, server: '10.0.0.2:0'}}]", "dns.server: '10.0.0.2:0' is not a name"),
        ("[{docker: {socket: /var/run/docker.sock, label: a}}]", "docker.socket: "),
        ("[{docker: {socket: 'tcp://10.0.0.1:2375', label: a}}]", "docker.socket: "),
        ("[{docker: {}}]", "docker.label: is required and missing"),
        ("[{docker: {label: '=b'}}]", "docker.label: '=b' must match"),
        ("[{directory: {}}]", "directory.path: is required and missing"),
        ("[{directory: {path: ''}}]", "directory.path: "),
        (
            "[{directory: {path: a}}, {directory: {path: a}}]",
            "discovery[1]: directory a is",
        ),
    ],
)
def test_a_source_that_is_wrong_is_named_with_its_line_and_key(value: str, says: str) -> None:
    sentence = refusal_in_pool(f"discovery: {value}")
    assert sentence.startswith("plimsoll.yaml:5: pools[0].discovery")
    assert says in sentence
