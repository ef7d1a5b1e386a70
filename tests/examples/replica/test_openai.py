"""What is read from a request's body, and what is said about one that cannot be served."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from embedding_replica import openai
from embedding_replica.errors import ApiError
from embedding_replica.openai import EmbeddingRequest, Limits

LIMITS = Limits(model="all-MiniLM-L6-v2", batch=4, vocabulary=30522, dimensions=384)


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "all-MiniLM-L6-v2", "input": "a"} | fields).encode()


@pytest.mark.parametrize(
    ("given", "inputs", "method"),
    [
        ("a", ["a"], "single"),
        (["a"], ["a"], "batch"),
        (["a", "b"], ["a", "b"], "batch"),
        ([7, 8], [[7, 8]], "single"),
        ([[7, 8], [9]], [[7, 8], [9]], "batch"),
        ([1] * 300, [[1] * 300], "single"),
    ],
)
def test_input_may_be_text_or_texts_or_tokens_or_lists_of_tokens(
    given: object, inputs: object, method: str
) -> None:
    asked = openai.parse(body(input=given), LIMITS)
    assert (asked.inputs, asked.method) == (inputs, method)


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_the_model_goes_by_two_names(name: str) -> None:
    openai.parse(body(model=name), LIMITS)


def test_fields_that_change_nothing_are_accepted() -> None:
    openai.parse(body(user="me", dimensions=384, other={"a": 1}), LIMITS)


@pytest.mark.parametrize(
    ("bad", "param", "says"),
    [
        (b"{", None, "not valid JSON"),
        (b"\xff\xfe\xfd", None, "not valid JSON"),
        (b"[" * 100_000, None, "not valid JSON"),
        (b"[]", None, "JSON object"),
        (b'{"model": "all-MiniLM-L6-v2"}', "input", "provide an 'input'"),
        (b'{"input": "a"}', "model", "provide a 'model'"),
        (body(model=3), "model", "has to be a string"),
        (body(input=3), "input", "has to be a string, or an array"),
        (body(input={}), "input", "has to be a string, or an array"),
        (body(input=""), "input", "'input' must not be an empty string"),
        (body(input=[]), "input", "must not be an empty array"),
        (body(input=["a", ""]), "input", "'input[1]' must not be an empty string"),
        (body(input=["a", 1]), "input", "'input[1]' has to be a string"),
        (body(input=["a", None]), "input", "'input[1]' has to be a string"),
        (body(input=["a"] * 5), "input", "5 entries; at most 4"),
        (body(input="\ud800"), "input", "surrogate"),
        (body(input=[1, "a"]), "input", "integers from 0 to 30521"),
        (body(input=[1, -1]), "input", "integers from 0 to 30521"),
        (body(input=[30522]), "input", "integers from 0 to 30521"),
        (body(input=[1, True]), "input", "integers from 0 to 30521"),
        (body(input=[True]), "input", "has to be a string or an array of tokens"),
        (body(input=[[1], []]), "input", "'input[1]' must not be an empty array"),
        (body(input=[[1], "a"]), "input", "'input[1]' has to be"),
        (body(encoding_format="int8"), "encoding_format", "'float' or 'base64'"),
        (body(encoding_format=["float"]), "encoding_format", "'float' or 'base64'"),
        (body(dimensions=256), "dimensions", "384 dimensions and no other"),
        (body(dimensions="384"), "dimensions", "384 dimensions and no other"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_with_the_reason(
    bad: bytes, param: str | None, says: str
) -> None:
    with pytest.raises(ApiError) as refused:
        openai.parse(bad, LIMITS)
    error = refused.value
    assert (error.status, error.type, error.param) == (400, "invalid_request_error", param)
    assert says in error.message


def test_another_model_is_not_found() -> None:
    with pytest.raises(ApiError) as refused:
        openai.parse(body(model="gpt-4"), LIMITS)
    assert (refused.value.status, refused.value.code) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (413, "invalid_request_error"),
        (424, "server_error"),
        (429, "rate_limit_error"),
        (503, "server_error"),
    ],
)
def test_an_error_has_openais_form(status: int, kind: str) -> None:
    expected = {"message": "No.", "type": kind, "param": "input", "code": "some_code"}
    assert ApiError(status, "No.", "input", "some_code").body() == {"error": expected}


def test_a_response_has_openais_form() -> None:
    vectors = np.array([[0.5, -1], [2, 0]], dtype=np.float32)
    asked = EmbeddingRequest(["a", "b"], base64=False, method="batch")
    assert json.loads(openai.response(asked, vectors, tokens=7, model="m")) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, -1]},
            {"object": "embedding", "index": 1, "embedding": [2, 0]},
        ],
        "model": "m",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }


def test_base64_is_little_endian_float32() -> None:
    asked = EmbeddingRequest(["a"], base64=True, method="single")
    vectors = np.array([[0.5, -1]], dtype=np.float32)
    data = json.loads(openai.response(asked, vectors, tokens=1, model="m"))["data"]
    assert base64.b64decode(data[0]["embedding"]) == b"\x00\x00\x00\x3f\x00\x00\x80\xbf"
