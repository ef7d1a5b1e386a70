"""Config files for the tests of settings, and what is refused of them."""

from collections.abc import Callable

import pytest

from controlplane.config import Config, SettingsError, load_config

EXAMPLE = """\
admin: {address: "127.0.0.1:8080", token_file: null}
xds:   {address: "127.0.0.1:18000", tls: null}
store: {path: plimsoll.db}
pools:
  - name: minilm
    model: all-MiniLM-L6-v2
    listener: {address: "127.0.0.1:10000"}
    route: {prefix: /}
    objective: {p99: 250ms}
    balancing: {policy: capacity-tiers}
    health_check: {path: /health, interval: 1s, timeout: 1s}
    metrics: {profile: tei, path: /metrics, interval: 500ms}
    replicas:
      - {id: a, address: "127.0.0.1:9001", slots: 2, locality: {region: eu, zone: a}}
"""

POOL = """\
pools:
  - name: minilm
    model: all-MiniLM-L6-v2
    listener: {address: "127.0.0.1:10000"}
"""
"""The least that a pool needs, lines 1 to 4; more keys of it go on line 5, indented by four."""

HUGE = pytest.param(10**5000, id="5001 digits")
"""A number that Python, and with it pytest, refuses to print."""


def load(text: str) -> Config:
    return load_config(text, "plimsoll.yaml")


def refusal(text: str) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(SettingsError) as refused:
        load(text)
    return str(refused.value)


def refusal_in_pool(line: str) -> str:
    """The sentence with which a pool with one more line, the fifth, is refused."""
    return refusal(f"{POOL}    {line}\n")


def sentence(read: Callable[[], object]) -> str:
    """What is said when something is refused; empty when it is read."""
    try:
        read()
    except ValueError as error:
        assert type(error) in (ValueError, SettingsError), error  # noqa: PT017 - others are crashes
        return str(error)
    return ""
