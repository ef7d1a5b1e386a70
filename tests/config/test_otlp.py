"""Where Envoys send spans: an address that they reach, and a part of all requests."""

import pytest

from controlplane.config import Address, OtlpSettings, SettingsError, load_config, validated


def test_one_request_in_a_hundred_gets_a_trace_unless_something_else_is_said() -> None:
    found = validated(OtlpSettings, {"address": "collector.example:4317"})
    assert found.address == Address("collector.example", 4317)
    assert (found.sampling, found.access_log) == (1.0, False)


def test_a_collector_at_an_ip_address_says_whose_certificate_it_shows() -> None:
    ca = {"ca": "system"}
    assert validated(OtlpSettings, {"address": "collector.example:4317", "tls": ca}).tls
    named = ca | {"server_name": "collector.example"}
    assert validated(OtlpSettings, {"address": "10.0.0.9:4317", "tls": named}).tls
    with pytest.raises(SettingsError, match="say whose certificate it shows") as error:
        load_config("otlp: {address: 10.0.0.9:4317, tls: {ca: system}}\n", "plimsoll.yaml")
    assert "otlp.tls.server_name" in str(error.value)


@pytest.mark.parametrize(
    ("text", "percent"), [("0%", 0), ("0.01%", 0.01), ("12.5%", 12.5), ("100%", 100)]
)
def test_a_part_is_written_in_percent(text: str, percent: float) -> None:
    found = validated(OtlpSettings, {"address": "10.0.0.9:4317", "sampling": text})
    assert found.sampling == percent
    assert found.model_dump(mode="json")["sampling"] == text


@pytest.mark.parametrize("part", ["1", 1, 0.01, "101%", "-1%", "0.001%", "1 %", "", None, "nan%"])
def test_anything_else_is_no_part(part: object) -> None:
    with pytest.raises(SettingsError, match="is not a share of the requests"):
        validated(OtlpSettings, {"address": "10.0.0.9:4317", "sampling": part})


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.0.0.9:0", "is not a collector"),
        ("http://10.0.0.9:4317", "leave out the scheme"),
        ("10.0.0.9", "host:port"),
        (4317, "host:port"),
    ],
)
def test_an_address_that_is_none_is_refused_with_its_place(address: object, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as error:
        load_config(f"otlp:\n  address: {address}\n", "plimsoll.yaml")
    assert str(error.value).startswith("plimsoll.yaml:2: otlp.address")
