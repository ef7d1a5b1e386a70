import pytest

from controlplane.config import Address, SettingsError, validated
from controlplane.config.health_check import HealthCheckSettings


def checked(**said: object) -> HealthCheckSettings:
    return validated(HealthCheckSettings, said)


def test_by_default_the_host_is_the_replicas_address_and_200_alone_is_well() -> None:
    check = checked()
    assert check.host_of(Address("10.0.0.1", 80)) == "10.0.0.1:80"
    assert check.host_of(Address("fd00::1", 80)) == "[fd00::1]:80"
    assert [status for status in range(100, 600) if check.expects(status)] == [200]


def test_statuses_are_numbers_and_ranges() -> None:
    check = checked(expected_statuses=[204, "200-201", "301"])
    assert [index for index in range(100, 600) if check.expects(index)] == [200, 201, 204, 301]


def test_a_host_is_the_same_for_all_replicas() -> None:
    for host in ("embed.example", "embed.example:8080", "10.0.0.1", "[::1]:80"):
        assert checked(host=host).host_of(Address("10.0.0.1", 80)) == host


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"expected_statuses": ["2xx"]}, "expected_statuses[0]: '2xx' is no status such as 200"),
        ({"expected_statuses": ["299-200"]}, "expected_statuses[0]: '299-200' is no status"),
        ({"expected_statuses": [True]}, "expected_statuses[0]: true is no status"),
        ({"expected_statuses": [99]}, "expected_statuses[0]: 99 is no status"),
        ({"expected_statuses": []}, "expected_statuses"),
        ({"host": "http://a"}, "host"),
        ({"host": "a b"}, "host"),
        ({"headers": {"Host": "a"}}, "headers.Host: give the header Host as host"),
        ({"headers": {"Content-Length": "1"}}, "headers.Content-Length: is a header of the conn"),
        ({"headers": {"a": "1", "A": "2"}}, "headers.A: is there twice, in other letters"),
        ({"headers": {"a:": "1"}}, "headers"),
        ({"headers": {"a": "1\r\nb: 2"}}, "headers.a"),
        ({"unhealthy_threshold": 0}, "unhealthy_threshold"),
        ({"healthy_threshold": True}, "healthy_threshold"),
    ],
)
def test_what_cannot_be_sent_or_expected_is_refused(said: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        checked(**said)
    assert str(refused.value).startswith(sentence)
