"""How much of a request's body a pool lets Envoy keep."""

import pytest

from controlplane.config import PoolSettings, SettingsError, validated


def settings(buffer: object) -> PoolSettings:
    body = {
        "model": "m",
        "listener": {"address": "127.0.0.1:10000"},
        "route": {"retry_buffer": buffer},
    }
    return validated(PoolSettings, body)


def test_it_is_printed_as_it_was_written() -> None:
    found = settings("5MiB")
    assert found.route.retry_buffer == 5 << 20
    assert found.model_dump(mode="json")["route"]["retry_buffer"] == "5MiB"


@pytest.mark.parametrize("buffer", ["63KiB", "2GiB", "0B"])
def test_what_no_envoy_should_keep_is_refused(buffer: str) -> None:
    with pytest.raises(SettingsError, match="is out of range: 64KiB to 1GiB"):
        settings(buffer)
