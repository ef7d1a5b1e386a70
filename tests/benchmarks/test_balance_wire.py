import pytest

from benchmarks.balance.wire import MalformedMessageError, request, response, split


def test_a_message_is_complete_with_its_last_byte() -> None:
    data = request("POST", "/embed", "pool", b"123")
    assert all(split(data[:end]) is None for end in range(len(data)))
    found = split(data + b"POST")
    assert found is not None
    message, rest = found
    assert (message.start, message.body, rest) == ("POST /embed HTTP/1.1", b"123", b"POST")


def test_headers_are_known_by_lower_case_names() -> None:
    found = split(response("200 OK", {"X-Replica": "3"}, b"[]"))
    assert found is not None
    assert found[0].headers["x-replica"] == "3"


@pytest.mark.parametrize(
    ("start", "header", "is_last"),
    [
        ("HTTP/1.1 200 OK", "", False),
        ("HTTP/1.1 200 OK", "Connection: close\r\n", True),
        ("HTTP/1.1 200 OK", "connection:  Close\r\n", True),
        ("GET / HTTP/1.0", "", True),
        ("GET / HTTP/1.0", "Connection: keep-alive\r\n", False),
    ],
)
def test_a_connection_is_used_again_unless_a_message_says_otherwise(
    start: str, header: str, *, is_last: bool
) -> None:
    found = split(f"{start}\r\n{header}content-length: 0\r\n\r\n".encode())
    assert found is not None
    assert found[0].is_last is is_last


def test_a_message_in_chunks_is_an_error_and_not_waited_for() -> None:
    with pytest.raises(MalformedMessageError, match="transfer-encoding"):
        split(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
