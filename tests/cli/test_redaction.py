"""What is secret is taken out of documents, wherever it stands; what is not stays."""

import json
from typing import Any

import pytest

from controlplane.cli.redaction import REMOVED, Redaction

KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIrYSSNQ\n-----END EC PRIVATE KEY-----"


def cleaned(*documents: Any, known: tuple[str, ...] = ()) -> Any:
    """The last of some documents, all of them looked at."""
    redaction = Redaction(known)
    for document in documents:
        redaction.learn(document)
    return redaction.document(documents[-1])


@pytest.mark.parametrize(
    "document",
    [
        {"password": "s3cret"},
        {"labels": {"api-key": "s3cret"}},
        {"apiKey": "s3cret"},
        {"headers": {"authorization": "Bearer s3cret"}},
        {"headers": {"x-probe": "s3cret"}},
        {"header": {"name": "x-tenant", "value": "s3cret"}},
        {"request_headers_to_add": [{"header": {"key": "x-tenant", "value": "s3cret"}}]},
        {"headers": [{"name": "x-tenant", "string_match": {"exact": "s3cret"}}]},
        {"env": [{"name": "HF_TOKEN", "value": "s3cret"}]},
        {"private_key": {"inline_string": "s3cret"}},
        {"tls_certificate": {"private_key": {"inline_bytes": "s3cret"}}},
        {"config_yaml": "anything: s3cret"},
        {"secret": ["s3cret"]},
        "https://user:s3cret@example.org/models",
        "redis://:s3cret@10.0.0.1:6379/0",
        "scraped /metrics?api_key=s3cret&x=1",
        "got password: s3cret",
        "pools.0.health_check.headers.x-api-key: 's3cret' must match",
        "Authorization: Basic s3cret==",
    ],
    ids=str,
)
def test_a_secret_is_taken_out(document: Any) -> None:
    assert "s3cret" not in json.dumps(cleaned(document))


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        KEY.replace(" EC", ""),
        KEY.replace(" EC", " ENCRYPTED"),
        KEY.partition("-----END")[0],
        KEY.replace("\n", ""),
        "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tTUhjQ0FRRUU=MHcCAQEEIIrYSSNQ".replace("=", ""),
        "eyJhbGciOiJIUzI1NiJ9.MHcCAQEEIIrYSSNQ.abc",
        "hf_MHcCAQEEIIrYSSNQ",
        "sk-MHcCAQEEIIrYSSNQ",
    ],
)
def test_what_looks_like_a_secret_is_taken_out_of_any_text(text: str) -> None:
    assert "MHcCAQEEIIrYSSNQ" not in cleaned({"anything": f"before {text} after"})["anything"]


def test_what_is_removed_is_removed_once() -> None:
    assert cleaned("GET /v1?api_key=s3cret HTTP/1.1") == f"GET /v1?api_key={REMOVED} HTTP/1.1"


def test_what_is_known_to_be_secret_is_taken_out_of_every_document() -> None:
    pool = {"health_check": {"headers": {"x-key": "Zq7-tenant-99"}}}
    sentence = {"why": ["its health check with Zq7-tenant-99 failed"], "Zq7-tenant-99": 1}
    assert cleaned(pool, sentence) == {
        "why": [f"its health check with {REMOVED} failed"],
        REMOVED: 1,
    }
    assert cleaned("the token abcdef was refused", known=("abcdef",)) == (
        f"the token {REMOVED} was refused"
    )


def test_a_header_of_a_class_does_not_take_the_name_of_the_class_with_it() -> None:
    pool = {"match": {"header": {"name": "x-job", "value": "nightly"}}}
    assert cleaned(pool, {"classes": ["nightly"]}) == {"classes": ["nightly"]}


@pytest.mark.parametrize(
    "document",
    [
        {"token_file": "/etc/plimsoll/tokens"},
        {"password_file": "password.txt"},
        {"tls": {"certificate": "/etc/secret/tls.crt", "key": "/etc/secret/tls.key"}},
        {"private_key": {"filename": "/etc/envoy/tls.key"}},
        {"name": "auth-pool", "model": "token-embedder"},
        {"stats": [{"name": "cluster.auth.token", "value": 12}]},
        {"capacity_tokens": 1234.5, "sources": {"memory": "file"}},
        {"token_bucket": {"max_tokens": 10}, "seconds_per_token": 0.1},
        {"headers": [{"name": ":path", "string_match": {"exact": "/v1"}}]},
        {"why": ["Capacity 12 400 tokens/s by its batches; see https://example.org/docs"]},
        {"version": "a9f3b2c1d4e5f60718293a4b5c6d7e8f90a1b2c3"},
        {"password": None, "token": ""},
        'plimsoll_replica_tokens_total{pool="minilm"} 12',
    ],
    ids=str,
)
def test_what_is_no_secret_stays(document: Any) -> None:
    assert cleaned(document) == document


def test_a_number_can_be_a_password() -> None:
    assert cleaned({"password": 12345678}) == {"password": REMOVED}


@pytest.mark.parametrize(
    "part",
    [
        *(
            "a",
            "a://",
            "token",
            "?token",
            "eyJ-",
            "-----BEGIN ",
            "Bearer ",
            "token ",
            "sk-",
            "AKIA",
        ),
        *("password=", "x?key=", "_", " ", "=", "LS0tLS1CRUdJTi"),
    ],
)
def test_a_long_text_is_looked_through_in_time_whatever_is_in_it(part: str) -> None:
    cleaned(part * 20_000)
