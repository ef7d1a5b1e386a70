"""How a pool's expositions are asked for: what the config file may say, and the API may not."""

import pytest

from controlplane.config import PoolSettings, SettingsError, load_config, validated

POOL = """
pools:
  - name: m
    model: m
    listener: {address: "127.0.0.1:10000"}
"""


def refusal(line: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_config(f"{POOL}    {line}\n", "plimsoll.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("access", "because"),
    [
        ("ca_file: ca.pem", "ca_file goes with scheme: https"),
        ("server_name: a", "server_name goes with scheme: https"),
        ("username: me", "username and password_file go together"),
        ("password_file: p", "username and password_file go together"),
        ("bearer_file: t, username: me, password_file: p", "exclude each other"),
        ("scheme: ftp", "'ftp' is not one of 'http' or 'https'"),
        ("username: 'a:b', password_file: p", "must match"),
        ("token: abc", "unknown key"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_its_place(access: str, because: str) -> None:
    words = refusal(f"scraping: {{replicas: {{{access}}}}}")
    assert because in words
    assert words.startswith("plimsoll.yaml:6: pools[0].scraping.replicas")


def test_files_are_not_for_the_api_to_name() -> None:
    data = {"model": "m", "listener": {"address": "127.0.0.1:1"}}
    with pytest.raises(SettingsError, match="scraping: unknown key"):
        validated(PoolSettings, {**data, "scraping": {"replicas": {"bearer_file": "/etc/shadow"}}})


@pytest.mark.parametrize(
    ("metrics", "because"),
    [
        ("timeout: 2m", "a scrape may take 60s at most"),
        ("max_bytes: 100", "must be at least 1024, not 100"),
        ("max_bytes: 1000000000", "must be at most 67108864"),
        ("profile: amd", "amd describes GPUs, not replicas"),
    ],
)
def test_limits_of_a_scrape_have_limits(metrics: str, because: str) -> None:
    assert because in refusal(f"metrics: {{{metrics}}}")
