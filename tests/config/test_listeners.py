import pytest

from controlplane.config import SettingsError, load_config, parse_address
from controlplane.config.addresses import Listeners


@pytest.mark.parametrize(
    ("listener", "replica"),
    [
        ("127.0.0.1:9", "127.0.0.1:9"),
        ("10.0.0.1:9", "10.0.0.1:9"),
        ("[fd00::1]:9", "[fd00:0::0001]:9"),
        ("127.0.0.1:9", "[::ffff:127.0.0.1]:9"),
        ("0.0.0.0:9", "127.0.0.1:9"),
        ("0.0.0.0:9", "127.8.8.8:9"),
        ("0.0.0.0:9", "[::1]:9"),
        ("[::]:9", "[::1]:9"),
        ("[::]:9", "127.0.0.1:9"),
    ],
)
def test_no_replica_is_where_an_envoy_listens(listener: str, replica: str) -> None:
    known = Listeners([(parse_address(listener), "pool 'p'")])
    said = known.refusal(parse_address(replica))
    assert said is not None
    assert "is where an Envoy listens for pool 'p'" in said
    known.discard(parse_address(listener))
    assert known.refusal(parse_address(replica)) is None


@pytest.mark.parametrize(
    ("listener", "replica"),
    [
        ("127.0.0.1:9", "127.0.0.1:8"),
        ("127.0.0.1:9", "127.0.0.2:9"),
        ("127.0.0.1:9", "[::1]:9"),
        # Of a listener on all addresses nobody knows which machine it is on.
        ("0.0.0.0:9", "10.0.0.1:9"),
    ],
)
def test_a_replica_may_be_anywhere_else(listener: str, replica: str) -> None:
    assert Listeners([(parse_address(listener), "p")]).refusal(parse_address(replica)) is None


@pytest.mark.parametrize("pool", ["a", "b"])
def test_a_file_with_a_replica_at_a_listener_is_refused_at_the_replicas_line(pool: str) -> None:
    text = "pools:\n"
    for name, port in (("a", 1), ("b", 2)):
        text += f"  - name: {name}\n    model: m\n    listener: {{address: 127.0.0.1:{port}}}\n"
        if name == pool:
            text += "    replicas:\n      - {id: r, address: 127.0.0.1:2}\n"
    line = text[: text.index("id: r")].count("\n") + 1
    with pytest.raises(SettingsError) as refused:
        load_config(text, "plimsoll.yaml")
    assert str(refused.value) == (
        f"plimsoll.yaml:{line}: pools[{'ab'.index(pool)}].replicas[0].address: 127.0.0.1:2 is where"
        " an Envoy listens for pool 'b': requests to a replica there would loop"
    )
