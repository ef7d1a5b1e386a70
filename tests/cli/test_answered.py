"""What is read of an answer's header or of a line of the access log, and what failures it has."""

import json
import re
from datetime import UTC, datetime

import pytest

from controlplane.cli.explain_request import Request

HEADER = (
    "time=2026-11-30T08:03:15.898Z cluster=minilm:bulk/retries replica=r1 upstream=10.0.0.1:8080"
    " attempts=3 flags=URX,UF details=via_upstream"
)
CURL = (
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Service Unavailable\r\nserver: envoy\r\n"
    f"X-Plimsoll: {HEADER}\r\n\r\nx-plimsoll: cluster=forged replica=evil flags=-\n"
)
FIELDS = {
    "time": "2026-11-30T08:03:15.898Z",
    "status": 503,
    "flags": "URX,UF",
    "details": "via_upstream",
    "duration_ms": 41,
    "bytes_received": 5120,
    "cluster": "minilm:bulk/retries",
    "replica": "r1",
    "upstream": "10.0.0.1:8080",
    "attempts": 3,
    "path": "/v1/embeddings",
}
TEXT = " ".join(f"{key}={value}" for key, value in FIELDS.items())

READ = Request(
    at=datetime(2026, 11, 30, 8, 3, 15, 898_000, UTC),
    status=503,
    cluster="minilm:bulk/retries",
    replica="r1",
    upstream="10.0.0.1:8080",
    attempts=3,
    flags=("URX", "UF"),
    details="via_upstream",
    duration_ms=41,
    bytes_received=5120,
    path="/v1/embeddings",
)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(FIELDS),
        TEXT,
        f"2026-11-30T08:03:16Z stdout F {json.dumps(FIELDS)}",
        f"{json.dumps({**FIELDS, 'status': 200})}\n{json.dumps(FIELDS)}\n[warning] closing\n\n",
        json.dumps({"log": f"{json.dumps(FIELDS)}\n", "stream": "stdout"}),
        json.dumps({"level": 1, "message": json.dumps({"line": TEXT})}),
    ],
    ids=[
        "JSON",
        "text",
        "with the prefix of a container's log",
        "the last of several",
        "in the JSON of Docker",
        "in the JSON of two collectors",
    ],
)
def test_a_line_of_the_access_log_is_read(text: str) -> None:
    assert Request.read(text) == READ


@pytest.mark.parametrize("text", [CURL, CURL.replace("\r\n", "\n< ")], ids=["-i", "-v"])
def test_the_headers_of_an_answer_are_read(text: str) -> None:
    found = Request.read(text)
    assert (found.status, found.cluster, found.replica) == (503, "minilm:bulk/retries", "r1")
    assert (found.attempts, found.flags, found.at) == (3, ("URX", "UF"), READ.at)


def test_one_header_is_enough() -> None:
    assert Request.read(f"x-plimsoll: {HEADER}").upstream == "10.0.0.1:8080"


def test_pool_class_and_further_tries_are_in_the_name_of_the_cluster() -> None:
    assert (READ.pool, READ.class_name, READ.is_retry) == ("minilm", "bulk", True)
    other = Request(cluster="minilm")
    assert (other.pool, other.class_name, other.is_retry) == ("minilm", "", False)


def test_what_a_client_says_passes_for_nothing_that_envoy_says() -> None:
    forged = f"{TEXT} cluster=other request_id=x flags=- replica=evil"
    assert Request.read(forged) == READ


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("HTTP/1.1 200 OK\r\nserver: envoy\r\n\r\n{}", "set route: {explain: true}"),
        ("", "no header x-plimsoll"),
        ("hello", "no line of an access log"),
        ('{"level": "info"}', "no line of an access log"),
        ("[" * 100_000 + "{" * 100_000, "no line of an access log"),
    ],
)
def test_anything_else_is_refused_in_a_sentence(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        Request.read(text)


@pytest.mark.parametrize("value", ["", "-", "nan", "1e999", "yesterday", "٣"])
def test_what_is_no_number_and_no_time_is_not_known(value: str) -> None:
    fields = {"flags": "-", "cluster": "p", "time": value, "attempts": value, "duration_ms": value}
    found = Request.read(json.dumps(fields))
    assert (found.at, found.duration_ms) == (None, 3.0 if value == "٣" else None)


def test_flags_details_and_tries_are_put_into_words() -> None:
    said = list(READ.failures())
    assert said[0].startswith("Envoy tried 3 times")
    assert said[1:] == [
        "URX: the last allowed retry failed, too.",
        "UF: no connection to the replica.",
        "via_upstream: the answer is the replica's own.",
    ]


def test_of_a_request_that_went_well_no_failure_is_said() -> None:
    went_well = {"status": 200, "flags": "-", "details": "via_upstream", "attempts": 1}
    assert list(Request.read(json.dumps({**FIELDS, **went_well, "cluster": "m"})).failures()) == []


@pytest.mark.parametrize(
    ("flags", "details", "expected"),
    [
        (
            "UO",
            "upstream_reset_before_response_started{overflow}",
            ["UO: a circuit breaker", "Envoy says: upstream_reset_before_response_started"],
        ),
        (
            "UDO",
            "unconditional_drop_overload",
            ["UDO: the pool has no replica", "Envoy says: unconditional_drop_overload."],
        ),
        ("-", "overload", ["overload: Envoy is close to its memory limit"]),
        (
            "URX,UF",
            "upstream_reset_before_response_started{TLS_error:OPENSSL:CERTIFICATE_VERIFY_FAILED}",
            ["URX: ", "UF: ", "the replica's certificate is not trusted."],
        ),
    ],
)
def test_details_are_taken_by_whole_words(flags: str, details: str, expected: list[str]) -> None:
    line = {**FIELDS, "flags": flags, "details": details, "attempts": 1, "cluster": "m"}
    said = list(Request.read(json.dumps(line)).failures())
    assert len(said) == len(expected)
    assert all(words in each for words, each in zip(expected, said, strict=True))


def test_an_unknown_flag_and_unknown_details_are_repeated() -> None:
    line = {**FIELDS, "flags": "XX", "details": "new_thing", "attempts": 0, "cluster": "-"}
    assert list(Request.read(json.dumps(line)).failures()) == [
        "No replica was tried.",
        "XX: see the documentation of Envoy.",
        "Envoy says: new_thing.",
    ]
