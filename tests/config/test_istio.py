"""The section about Istio: what it is by default, and what is refused, with its place."""

import re
from pathlib import Path

import pytest
import yaml

from controlplane.config import Address, SettingsError, load_config
from controlplane.config.config import IstioSettings

PAGE = Path(__file__).parents[2] / "docs" / "istio.md"


def test_an_address_is_enough() -> None:
    found = load_config('istio: {address: "127.0.0.1:18001"}', "f").istio
    assert found is not None
    assert found.address == Address("127.0.0.1", 18001)
    assert (found.namespace, found.domain, found.port) == ("plimsoll", "plimsoll.internal", 80)
    assert (found.tls, found.insecure) == (None, False)


def test_without_the_section_istiod_is_not_served() -> None:
    assert load_config("", "f").istio is None


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("namespace", "Models", "is not a namespace of Kubernetes"),
        ("namespace", "a.b", "is not a namespace of Kubernetes"),
        ("namespace", "a/b", "is not a namespace of Kubernetes"),
        ("domain", "Plimsoll", "is not a domain"),
        ("domain", ".internal", "is not a domain"),
        ("domain", "'*.internal'", "is not a domain"),
        ("domain", "a." * 95 + "a", "is not a domain"),
        ("port", "0", "must be at least 1, not 0"),
        ("port", '"80"', "must be a whole number"),
        ("address", "10.0.0.1:18001", "set tls, listen on 127.0.0.1"),
        ("pools", "[p]", "unknown key"),
    ],
)
def test_what_istio_would_not_take_is_refused_with_its_place(
    key: str, value: str, why: str
) -> None:
    given = {"address": '"127.0.0.1:18001"', key: value}
    text = "istio:\n" + "".join(f"  {name}: {item}\n" for name, item in given.items())
    with pytest.raises(SettingsError, match=why) as error:
        load_config(text, "plimsoll.yaml")
    line = 2 + [*given].index(key)
    assert str(error.value).startswith(f"plimsoll.yaml:{line}: istio.{key}")


def test_off_loopback_plain_text_has_to_be_meant() -> None:
    text = 'istio: {address: "10.0.0.1:18001", insecure: true}'
    assert load_config(text, "f").istio is not None
    both = 'istio: {address: "10.0.0.1:1", insecure: true, tls: {certificate: a, key: b}}'
    with pytest.raises(SettingsError, match="insecure and tls exclude each other"):
        load_config(both, "f")


def test_the_page_shows_every_key_with_its_default() -> None:
    block = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    shown = yaml.safe_load(block)["istio"]
    assert shown.keys() == IstioSettings.model_fields.keys()
    least = IstioSettings(address=Address("127.0.0.1", 18001))
    assert load_config(block, "page").istio == least
