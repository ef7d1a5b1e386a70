"""Addresses and durations: what is read, what is refused, and that printing undoes reading."""

import re
from ipaddress import IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controlplane.config import (
    Address,
    PoolSettings,
    ReplicaSettings,
    SettingsError,
    parse_address,
    parse_duration,
    parse_listener_address,
    validated,
)
from controlplane.config.values import (
    format_duration,
    format_percentage,
    format_size,
    is_below,
    normalized_path,
    parse_percentage,
    parse_size,
    pattern_below,
)
from tests.config.files import HUGE, sentence

POOL = {"model": "m", "listener": {"address": "127.0.0.1:10000"}}


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9001", "127.0.0.1", 9001),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("127.0.0.1:65535", "127.0.0.1", 65535),
        ("[::1]:80", "::1", 80),
        ("[0:0:0:0:0:0:0:1]:80", "::1", 80),
        ("[2001:DB8::A]:80", "2001:db8::a", 80),
        ("[::ffff:10.0.0.1]:80", "10.0.0.1", 80),
        ("[::ffff:a00:1]:80", "10.0.0.1", 80),
        ("Replica-1.Example.COM:80", "replica-1.example.com", 80),
    ],
)
def test_an_address_is_read_in_canonical_form(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", ":80", "a", "a:", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1"),
        *("127.0.0.1:+1", "127.0.0.1: 80", "127.0.0.1:80 ", "127.0.0.1:80\n", "127.0.0.1:8_0"),
        *(
            "127.0.0.1:\u0668\u0660",
            "\uff11\uff12\uff17.0.0.1:80",
            "127.0.0.1:999999",
            "127.1:80",
            "1.2.3.4.5:80",
        ),
        *("256.0.0.1:80", "01.2.3.4:80", "http://a:80", "a:80/metrics", "//a:80", "a\\b:80"),
        *("user@a:80", "a b:80", "a\x00b:80", "\ud800:80", "-a:80", "a-:80", "a..b:80", ".a:80"),
        *("a_b:80", f"{'a' * 64}:80", f"{'.'.join(['a' * 60] * 5)}:80", "\uff41:80", "é.fr:80"),
        *("::1:80", "[::1]", "[::1]80", "[]:80", "[::1:80", "::1]:80", "[127.0.0.1]:80"),
        *("[::1%eth0]:80", "[fe80::1%25eth0]:80", "[[::1]]:80", "[::1/64]:80", "[:::]:80"),
    ],
)
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|host name|IPv6|port 0|is a name"):
        parse_address(text)


@pytest.mark.parametrize("value", [None, 80, True, 1.5, b"a:80", ["a", 80], {"host": "a"}])
def test_what_is_no_text_is_refused_as_an_address(value: object) -> None:
    with pytest.raises(ValueError, match='must be "host:port"'):
        parse_address(value)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("http://127.0.0.1:80", "leave out the scheme and the path"),
        ("::1:80", 'write an IPv6 host in brackets, as in "[::1]:9001"'),
        ("[fe80::1%eth0]:80", "an IPv6 zone id means nothing to another machine; leave it out"),
    ],
)
def test_a_refused_address_says_what_would_be_right(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|host name|IPv6|port 0|is a name") as refused:
        parse_address(text)
    assert str(refused.value).endswith(remedy)


HOSTS = (
    st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map(lambda ip: f"[{ip}]")
    | st.ip_addresses(v=6).map(lambda ip: f"[{ip.exploded.upper()}]")
    | st.ip_addresses(v=4).map(lambda ip: f"[::ffff:{ip}]")
    | st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z]{1,5}){0,3}", fullmatch=True)
)


@given(HOSTS, st.integers(0, 65535))
def test_an_address_printed_and_read_again_is_the_same(host: str, port: int) -> None:
    address = parse_address(f"{host}:{port}")
    assert parse_address(str(address)) == address


@given(st.text() | HOSTS.map(lambda host: f"{host}:80"))
def test_whatever_the_text_an_address_is_read_or_refused_in_one_line(text: str) -> None:
    said = sentence(lambda: parse_address(text))
    assert said.isprintable()
    assert len(said) < 200


@given(st.ip_addresses(v=6))
def test_an_ipv4_address_has_one_spelling(ip: IPv6Address) -> None:
    host = parse_address(f"[{ip}]:1").host
    assert not host.startswith("::ffff:")


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "169.254.0.1", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]"),
        *("[fe80::1]", "[fd00:ec2::254]", "[fd20:ce::254]", "100.100.100.200", "168.63.129.16"),
        *("[::ffff:100.100.100.200]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]"),
        *("192.0.0.192", "[::c000:c0]", "[::ffff:c000:c0]", "[64:ff9b::c000:c0]"),
        *("[fd00:ec2::23]", "[fd00:c1::a9fe:a9fe]", "[fd00:42::42]"),
        *("[::a9fe:a9fe]", "[::169.254.169.254]", "[::ffff:0:a9fe:a9fe]", "[::6464:64c8]"),
        # NAT64 under a network's own prefix of 96, 64, 56 and 48 bits.
        *("[64:ff9b:1::a9fe:a9fe]", "[64:ff9b:1:0:a9:fea9:fe00:0]"),
        *("[64:ff9b:1:a9:fe:a9fe::]", "[64:ff9b:1:a9fe:a9:fe00::]"),
        # ISATAP, and Teredo as its server and as its client.
        *("[2001:db8::5efe:a9fe:a9fe]", "[fd00::200:5efe:a9fe:a9fe]"),
        *("[2001:0:a9fe:a9fe::1]", "[2001::5601:5601]"),
    ],
)
def test_no_replica_is_where_a_cloud_keeps_its_metadata(host: str) -> None:
    with pytest.raises(SettingsError, match="metadata"):
        validated(ReplicaSettings, {"address": f"{host}:80"})


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]", "[::224.0.0.1]", "[64:ff9b::ffff:ffff]"]
)
def test_no_replica_is_at_an_address_that_is_not_one_machines(host: str) -> None:
    with pytest.raises(SettingsError, match="is not an address that a replica can be reached at"):
        validated(ReplicaSettings, {"address": f"{host}:80"})


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.1", "192.168.1.1", "[::1]", "[fd00::1]", "8.8.8.8", "[64:ff9b::808:808]"],
)
def test_a_replica_may_be_at_any_other_address(host: str) -> None:
    assert validated(ReplicaSettings, {"address": f"{host}:80"}).address.port == 80


def test_a_replica_at_port_0_is_refused() -> None:
    with pytest.raises(SettingsError, match="port 0 reaches nothing"):
        validated(ReplicaSettings, {"address": "127.0.0.1:0"})


def test_a_listener_may_be_on_every_interface() -> None:
    assert parse_listener_address("0.0.0.0:80") == Address("0.0.0.0", 80)


@pytest.mark.parametrize("text", ["localhost:80", "127.0.0.1:0", "80"])
def test_a_listener_needs_an_ip_address_and_a_port(text: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|host name|IPv6|port 0|is a name"):
        parse_listener_address(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("1.5s", 1.5),
        ("90s", 90),
        ("2m", 120),
        ("1h", 3600),
        ("0.5ms", 0.0005),
        ("0.0005s", 0.0005),
        ("1100ms", 1.1),
        ("0s", 0),
    ],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "s", "1 s", " 1s", "1s ", "1s\n", "-1s", "+1s", ".5s", "1.s", "1e3s", "1,5s"),
        *("1S", "1min", "1d", "1us", "1m30s", "NaNs", "infs", "\u0663s", "1:30", "9" * 5000 + "s"),
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write a number and a unit") as refused:
        parse_duration(text)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("value", [None, 1, 1.5, True, float("nan"), HUGE, b"1s", ["1s"]])
def test_what_is_no_text_is_refused_as_a_duration(value: object) -> None:
    with pytest.raises(ValueError, match="is not a duration: write a number and a unit"):
        parse_duration(value)


@pytest.mark.parametrize(
    "text", ["250ms", "0.5ms", "1s", "90s", "1.5s", "999.5ms", "86400s", "10s"]
)
def test_a_duration_is_printed_as_people_write_it(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


@given(
    st.decimals(0, 86400, places=9).map(lambda number: f"{number:f}"),
    st.sampled_from(["ms", "s", "m", "h"]),
)
@example("0.0005", "s")
@example("1000.123456789", "ms")
@example("1.2345678", "s")
@example("86399.999999999", "s")
def test_a_duration_printed_and_read_again_is_the_same(number: str, unit: str) -> None:
    seconds = parse_duration(number + unit)
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("65536B", 65_536), ("512KiB", 524_288), ("32MiB", 33_554_432)]
)
def test_a_size_is_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["32", "32MB", "32 MiB", "1.5MiB", "-1MiB", "", 32, None])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a size: write a whole number and a unit"):
        parse_size(text)


@pytest.mark.parametrize("text", ["1B", "100KiB", "1025KiB", "32MiB", "1GiB"])
def test_a_size_is_printed_as_it_was_read(text: str) -> None:
    assert format_size(parse_size(text)) == text


@pytest.mark.parametrize(
    ("text", "part"), [("99.9%", 0.999), ("99.999%", 0.99999), ("50%", 0.5), ("0.000001%", 1e-8)]
)
def test_a_percentage_is_a_part(text: str, part: float) -> None:
    assert parse_percentage(text) == part
    assert format_percentage(part) == text


@pytest.mark.parametrize(
    "text", ["100%", "0%", "0.0%", "99.9", "-1%", "1e1%", "99,9%", " 9%", 0.9, None]
)
def test_what_is_no_percentage_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match=r'not a percentage between 0% and 100%, as in "99.9%"'):
        parse_percentage(text)


@pytest.mark.parametrize(
    ("prefix", "path", "expected"),
    [
        ("/", "/", True),
        ("/", "/v1", True),
        ("/v1", "/v1", True),
        ("/v1", "/v1/", True),
        ("/v1", "/v1/embeddings", True),
        ("/v1", "/v1:predict", True),
        ("/v1", "/v1admin", False),
        ("/v1", "/v1.1/embeddings", False),
        ("/v1", "/v1;x", False),
        ("/v1", "/v", False),
        ("/v1/", "/v1", False),
        ("/v1/", "/v1/admin", True),
        ("/v1.0", "/v1x0/embeddings", False),
        ("/inference.", "/inference.GRPCInferenceService/ModelInfer", True),
        ("/a.Service", "/a.ServiceTwo/Method", False),
    ],
)
def test_a_prefix_ends_where_a_segment_does(prefix: str, path: str, *, expected: bool) -> None:
    assert is_below(path, prefix) is expected
    assert bool(re.fullmatch(pattern_below(prefix), path)) is expected


@pytest.mark.parametrize(
    ("path", "compared"),
    [
        ("/a/../b", "/b"),
        ("//", "/"),
        ("//a", "/a"),
        ("/a//b", "/a/b"),
        ("/a%2fb", "/a/b"),
        ("/a%5Cb", "/a/b"),
        ("/%2e%2E/x", "/x"),
        ("/a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/a%42", "/aB"),
        ("/..", "/"),
        *((path, path) for path in ("/", "/v1/", "/v1/models", "/a;b", "/%c3%a9", "/a%20b")),
        *((path, path) for path in ("/inference.", "/...", "/%21", "/a%zz", "/a.b/..c")),
    ],
)
def test_a_prefix_is_written_as_envoys_compare_it(path: str, compared: str) -> None:
    assert normalized_path(path) == compared
    said = sentence(lambda: validated(PoolSettings, {**POOL, "route": {"prefix": path}}))
    if path == compared:
        assert said == ""
    else:
        assert said == (
            f"route.prefix: {path!r} matches no request: Envoys compare such a path as"
            f" {compared!r}; write that"
        )
