"""The config file: what the example means, and one sentence for each thing that can be wrong."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.config import Address, Config
from controlplane.config.values import format_duration
from tests.config.files import EXAMPLE, POOL, load, refusal, refusal_in_pool, sentence


def test_the_example_file_is_read() -> None:
    pool = load(EXAMPLE).pools[0]
    assert (pool.name, pool.model, pool.listener.address.port) == (
        "minilm",
        "all-MiniLM-L6-v2",
        10000,
    )


def test_durations_are_seconds() -> None:
    pool = load(EXAMPLE).pools[0]
    assert pool.objective is not None
    assert (pool.objective.p99, pool.health_check.interval, pool.metrics.interval) == (0.25, 1, 0.5)


def test_replicas_are_read_with_address_slots_and_locality() -> None:
    replica = load(EXAMPLE).pools[0].replicas[0]
    assert (replica.address, replica.slots) == (Address("127.0.0.1", 9001), 2)
    assert (replica.locality.region, replica.locality.zone) == ("eu", "a")


def test_an_empty_file_means_the_defaults() -> None:
    assert load("") == Config()


def test_the_servers_listen_on_loopback_by_default() -> None:
    assert (str(Config().admin.address), str(Config().xds.address)) == (
        "127.0.0.1:8080",
        "127.0.0.1:18000",
    )


def test_a_pool_needs_a_name_a_model_and_a_listener_only() -> None:
    assert load(POOL).pools[0].replicas == ()


def test_a_pools_settings_are_the_entry_without_what_the_api_may_not_set() -> None:
    entry = load(EXAMPLE).pools[0]
    rest = {"name", "replicas", "discovery", "scraping"}
    assert entry.settings().model_dump() == entry.model_dump(exclude=rest)


def test_a_replicas_settings_are_the_entry_without_its_id_lease_included() -> None:
    entry = load(f"{POOL}    replicas: [{{id: a, address: '10.0.0.1:80', ttl: 30s}}]")
    replica = entry.pools[0].replicas[0]
    assert replica.settings().model_dump() == replica.model_dump(exclude={"id"})
    assert replica.settings().ttl == 30


def test_a_config_is_a_mapping() -> None:
    assert refusal("# a list\n\n- admin\n") == (
        "plimsoll.yaml:3: must be a mapping with the keys admin, xds, store, identity, otlp, istio,"
        " pools, not a list"
    )


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("listner: {}", "listner: unknown key; did you mean 'listener'?"),
        ("memory: {softt: 1}", "memory.softt: unknown key; did you mean 'soft'?"),
        ("objective: {zzz: 1}", "objective.zzz: unknown key; known here are p99, availability"),
        ("objective: {}", "objective.p99: is required and missing"),
        ("route: /", "route: must be a mapping of keys to values, not '/'"),
        ("memory: {soft: true}", "memory.soft: must be a number, not true"),
        ("memory: {soft: '0.5'}", "memory.soft: must be a number, not '0.5'"),
        ("memory: {soft: .nan}", "memory.soft: must be a number, not '.nan'"),
        (
            "scaling: {min_replicas: 9223372036854775808}",
            "scaling.min_replicas: must be at most 100000, not 9223372036854775808",
        ),
        (
            "replicas: [{id: a, address: '10.0.0.1:1', slots: 99999999999999999999}]",
            "replicas[0].slots: must be at most 4096, not 99999999999999999999",
        ),
        (
            "health_check: {expected_statuses: []}",
            "health_check.expected_statuses: must not be empty",
        ),
        ("memory: {soft: 1e999}", "memory.soft: must be a finite number, not inf"),
        ("memory: {soft: 0.98}", "memory: soft 0.98 must be below hard 0.97"),
        ("replicas: {}", "replicas: must be a list, not a mapping"),
        ("replicas: null", "replicas: must be a list, not null"),
        (
            "balancing: {policy: ring}",
            "balancing.policy: 'ring' is not one of 'capacity-tiers', 'weighted-least-request',"
            " 'least-request', 'round-robin', 'client-side-weighted-round-robin', 'ring-hash' or"
            " 'maglev'",
        ),
        (
            "balancing: {policy: maglev}",
            "balancing.hash: is missing: policy maglev needs to know what to hash on, as in"
            " {header: x-user}",
        ),
        (
            "metrics: {interval: 5}",
            'metrics.interval: 5 is not a duration: write a number and a unit, as in "500ms" or'
            ' "1s"',
        ),
        ("metrics: {interval: 1ms}", "metrics.interval: 1ms is out of range: 10ms to 24h"),
        ("objective: {p99: 25h}", "objective.p99: 90000s is out of range: 10ms to 24h"),
        (
            "replicas: [{id: 1, address: '127.0.0.1:1'}]",
            "replicas[0].id: must be text, not 1; put it in quotes",
        ),
        (
            "replicas: [{id: a, address: '127.0.0.1:1', slots: 1.5}]",
            "replicas[0].slots: must be a whole number, not 1.5",
        ),
        (
            "replicas: [{id: a, address: '127.0.0.1:1', slots: true}]",
            "replicas[0].slots: must be a whole number, not true",
        ),
        (
            "replicas: [{id: a, address: '127.0.0.1:1', labels: {a b: c}}]",
            "replicas[0].labels['a b']: 'a b' must match ^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_line_its_key_and_what_would_be_right(
    line: str, sentence: str
) -> None:
    assert refusal_in_pool(line) == f"plimsoll.yaml:5: pools[0].{sentence}"


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("id", "../etc/passwd"),
        ("id", "a b"),
        ("id", "a" * 64),
        ("id", '"a\\n"'),
        ("address", "http://127.0.0.1:80/"),
        ("address", "replica.local:80"),
        ("address", "127.0.0.1:0"),
        ("address", "127.0.0.1:65536"),
        ("address", "169.254.169.254:80"),
        ("address", '"[::ffff:169.254.169.254]:80"'),
        ("slots", "0"),
        ("slots", "4097"),
        ("slots", "010"),
        ("slots", "9" * 5000),
        ("ttl", "NO"),
        ("locality", "{region: '1:30'}"),
    ],
)
def test_a_replicas_wrong_value_is_refused_at_its_own_line(field: str, text: str) -> None:
    given = {"id": "a", "address": "127.0.0.1:9001", field: text}
    lines = "".join(f"        {name}: {value}\n" for name, value in given.items())
    line = 7 + list(given).index(field)
    sentence = refusal(f"{POOL}    replicas:\n      -\n{lines}")
    assert sentence.startswith(f"plimsoll.yaml:{line}: pools[0].replicas[0].{field}")


@pytest.mark.parametrize(
    "path", ["health", "http://x/", "/a b", '"/\\x01"', "/é", '"/a\\n"', "/#a"]
)
def test_what_is_no_path_of_a_request_is_refused(path: str) -> None:
    assert "health_check.path: " in refusal_in_pool(f"health_check: {{path: {path}}}")


@pytest.mark.parametrize("path", ['"/?\\x01"', '"/?é"', '"/?a\\x7f"'])
def test_characters_that_envoy_refuses_are_refused_in_a_query_too(path: str) -> None:
    assert "health_check.path: " in refusal_in_pool(f"health_check: {{path: {path}}}")


def test_a_health_check_may_have_a_query() -> None:
    pool = load(f"{POOL}    health_check: {{path: '/health?full=1'}}").pools[0]
    assert pool.health_check.path == "/health?full=1"


def test_a_route_has_no_query_because_envoy_would_never_match_it() -> None:
    assert "route.prefix: " in refusal_in_pool("route: {prefix: '/a?b'}")


def test_the_api_needs_a_token_off_loopback() -> None:
    assert refusal('admin:\n  address: "0.0.0.0:8080"\n') == (
        "plimsoll.yaml:2: admin.address: 0.0.0.0:8080 can be reached from other machines: set"
        " token_file to a file that holds a token, or tls with clients, or listen on 127.0.0.1"
    )


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "[::]", "10.0.0.1", "[::ffff:10.0.0.1]", "example.com"]
)
def test_every_address_but_loopback_needs_a_token(host: str) -> None:
    assert "can be reached from other machines" in refusal(f'admin: {{address: "{host}:80"}}')


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "[::1]", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert load(f'admin: {{address: "{host}:80"}}').admin.token_file is None


def test_off_loopback_with_a_token_is_fine() -> None:
    admin = load('admin: {address: "0.0.0.0:80", token_file: /run/token}').admin
    assert str(admin.address) == "0.0.0.0:80"


@pytest.mark.parametrize("key", ["admin: {token_file", "store: {path"])
@pytest.mark.parametrize("path", ['""', '"\\0"'])
def test_a_path_that_leads_nowhere_is_refused_and_not_taken_for_none(key: str, path: str) -> None:
    wrong = refusal(f"{key}: {path}}}")
    assert wrong.startswith(f"plimsoll.yaml:1: {key.replace(': {', '.')}: ")


def test_two_replicas_with_one_id_are_refused_at_the_second() -> None:
    assert refusal(
        f"{POOL}    replicas:\n"
        "      - {id: a, address: '127.0.0.1:1'}\n"
        "      - {id: a, address: '127.0.0.1:2'}\n"
    ) == (
        "plimsoll.yaml:7: pools[0].replicas[1].id: two replicas have the id a; each needs its own"
    )


def test_two_replicas_with_one_address_are_refused_at_the_second() -> None:
    assert refusal(
        f"{POOL}    replicas:\n"
        "      - {id: a, address: '127.0.0.1:1'}\n"
        "      - {id: b, address: '[::ffff:127.0.0.1]:1'}\n"
    ) == (
        "plimsoll.yaml:7: pools[0].replicas[1].address: two replicas have the address 127.0.0.1:1;"
        " each needs its own"
    )


def test_two_pools_with_one_name_are_refused_at_the_second() -> None:
    second = POOL.removeprefix("pools:\n")
    assert refusal(POOL + second) == (
        "plimsoll.yaml:5: pools[1].name: two pools have the name minilm; each needs its own"
    )


def test_two_pools_with_one_listener_are_refused_at_the_second() -> None:
    second = POOL.removeprefix("pools:\n").replace("minilm", "other")
    assert refusal(POOL + second) == (
        "plimsoll.yaml:7: pools[1].listener.address: two pools have the listener address"
        " 127.0.0.1:10000; each needs its own"
    )


def test_two_pools_may_have_the_same_replica() -> None:
    one = f"{POOL}    replicas: [{{id: a, address: '127.0.0.1:1'}}]\n"
    other = (
        one.removeprefix("pools:\n").replace("name: minilm", "name: b").replace(":10000", ":1001")
    )
    assert len(load(one + other).pools) == 2


@pytest.mark.parametrize("key", ['"a\\nb"', '"[key]"', '""', '"\\u2028"', "x" * 100_000])
def test_a_strange_key_does_not_break_the_sentence(key: str) -> None:
    sentence = refusal(f"{key}: 1")
    assert sentence.isprintable()
    assert len(sentence) < 200


@pytest.mark.parametrize("value", ['"a\\nb"', "x" * 100_000, '"\\u2028"', '"\\x1b[31m"'])
@pytest.mark.parametrize("field", ["id", "address", "slots", "ttl", "labels", "locality"])
def test_a_strange_value_does_not_break_the_sentence(field: str, value: str) -> None:
    sentence = refusal_in_pool(f"replicas: [{{? {field}\n     : {value}}}]")
    assert sentence.isprintable()
    assert len(sentence) < 250


PIECES = [
    *("{", "}", "[", "]", ":", ": ", "-", "- ", ",", "\n", "\r\n", "\t", "    ", "#", "?", "? "),
    *(
        "&a ",
        "*a",
        "!t ",
        "!!int ",
        "<<: ",
        "|",
        ">",
        "|2",
        "'",
        '"',
        "%YAML 1.1\n",
        "---\n",
        "...",
    ),
    *("\\U00110000", "\\ud800", "\x00", "\ud800", "\ufeff", "\u2028", "\x85", "9" * 5000, "1e999"),
    *("NO", "010", "1:30", "null", "true", "name", "id", "slots", "ttl", "[key]", "1s", "é", "🚢"),
]
LINE = re.compile(r"plimsoll\.yaml:([1-9]\d*): ")


def read_or_refused_in_one_line(text: str) -> None:
    said = sentence(lambda: load(text))
    if said:
        found = LINE.match(said)
        assert found
        assert int(found[1]) <= len(text.splitlines()) + 1
        assert said.isprintable()
        assert len(said) < 400


@settings(max_examples=50)
@given(st.text(st.characters(codec=None)) | st.lists(st.sampled_from(PIECES)).map("".join))
def test_whatever_the_text_it_is_read_or_refused_with_a_line(text: str) -> None:
    read_or_refused_in_one_line(text)


@settings(max_examples=50)
@given(
    st.integers(0, len(EXAMPLE)),
    st.integers(0, 40),
    st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=4).map("".join),
)
def test_whatever_becomes_of_a_valid_file_it_is_read_or_refused_with_a_line(
    at: int, cut: int, put: str
) -> None:
    read_or_refused_in_one_line(EXAMPLE[:at] + put + EXAMPLE[at + cut :])


@given(st.integers(1, 4096), st.floats(0.01, 86400))
def test_what_a_config_prints_means_the_same(slots: int, p99: float) -> None:
    pool = f"{POOL}    replicas: [{{id: a, address: '[::1]:1', slots: {slots}, ttl: 1.5s}}]\n"
    config = load(f"{pool}    objective: {{p99: {format_duration(round(p99, 6))}}}\n")
    assert Config.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    ("store", "other"),
    [
        ("plimsoll.yaml", "the config file"),
        ("./a/../plimsoll.yaml", "the config file"),
        ("tokens", "admin.token_file"),
        ("tls/key.pem", "xds.tls.key"),
    ],
)
def test_a_database_in_place_of_a_file_that_holds_something_else_is_refused(
    store: str, other: str
) -> None:
    tls = "{certificate: tls/cert.pem, key: tls/key.pem, client_ca: tls/ca.pem}"
    text = f"admin: {{token_file: tokens}}\nxds: {{tls: {tls}}}\nstore:\n  path: {store}\n"
    assert refusal(text) == (
        f"plimsoll.yaml:4: store.path: {store} is {other}; name a file that only Plimsoll uses"
    )


def test_two_servers_at_one_address_are_refused() -> None:
    text = 'admin: {address: "127.0.0.1:8080"}\nxds: {address: "127.0.0.1:8080"}\n'
    assert refusal(text).startswith("plimsoll.yaml:2: xds.address: 127.0.0.1:8080 is admin.address")
