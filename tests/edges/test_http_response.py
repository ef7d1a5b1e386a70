"""Answers of HTTP/1.1, byte by byte and all at once: what is one, how long it is, what is none."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.edges.http_response import MAX_HEAD, AnswerError, Response

MOST = 1000

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b"2;why=not\r\nhe\r\n03\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n"
)
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
UNTIL_THE_END = b"HTTP/1.0 200 OK\r\n\r\nhello"


def fed(*parts: bytes, end: bool = False) -> Response:
    response = Response(MOST)
    for part in parts:
        response.feed(part)
    if end:
        response.end()
    return response


@given(st.sampled_from([PLAIN, CHUNKED, EARLY + PLAIN, EARLY + CHUNKED]), st.data())
def test_an_answer_is_the_same_however_it_is_cut(answer: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=12)))
    edges = [0, *cuts, len(answer)]
    response = Response(MOST)
    for start, stop in pairwise(edges):
        assert not response.is_whole or start == len(answer)
        response.feed(answer[start:stop])
    assert response.status == 200
    assert response.body == b"hello"
    assert response.is_whole
    assert response.keeps_alive


@given(st.integers(0, len(CHUNKED) - 1))
def test_an_answer_that_is_cut_short_is_none(length: int) -> None:
    for answer in (PLAIN, CHUNKED):
        with pytest.raises(AnswerError, match="closed before the answer was whole"):
            fed(answer[: min(length, len(answer) - 1)], end=True)


def test_without_a_length_a_body_lasts_until_the_end() -> None:
    response = fed(UNTIL_THE_END, b"!")
    assert not response.is_whole
    response.end()
    assert response.is_whole
    assert response.body == b"hello!"
    assert not response.keeps_alive


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n", True),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", True),
    ],
)
def test_a_connection_is_kept_as_the_answer_says(head: bytes, keeps: bool) -> None:  # noqa: FBT001
    assert fed(head + b"content-length: 0\r\n\r\n").keeps_alive is keeps


def test_a_connection_is_not_kept_when_more_comes_than_was_asked_for() -> None:
    assert not fed(PLAIN + b"HTTP/1.1 200").keeps_alive
    assert not fed(PLAIN, b"x").keeps_alive


def test_of_any_status_but_200_the_body_is_not_waited_for() -> None:
    response = fed(b"HTTP/1.1 503 Loading\r\nContent-Length: 9\r\n\r\n")
    assert (response.status, response.is_whole, response.keeps_alive) == (503, True, False)


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        HEAD + b"Content-Length: 5, 5\r\n\r\n",
        HEAD + b"Content-Length: +5\r\n\r\n",
        HEAD + "Content-Length: \u0665\r\n\r\n".encode(),
        HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        HEAD + b"No colon\r\n\r\n",
        HEAD + b"Spaced : x\r\n\r\n",
        HEAD + b" folded: x\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 5000,
        b"x" * (MAX_HEAD + 1),
    ],
)
def test_what_is_no_answer_is_an_error(data: bytes) -> None:
    with pytest.raises(AnswerError):
        fed(data)


@pytest.mark.parametrize(
    "parts",
    [
        [HEAD + b"Content-Length: 1001\r\n\r\n"],
        [HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n"],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n3E8\r\n"],
        [HEAD + b"\r\n", b"x" * 1000, b"x"],
    ],
)
def test_an_answer_over_the_limit_is_an_error_before_it_is_there(parts: list[bytes]) -> None:
    with pytest.raises(AnswerError, match="is longer than"):
        fed(*parts)


@given(st.binary(max_size=200), st.booleans())
def test_whatever_comes_only_one_kind_of_error_escapes(data: bytes, after_a_head: bool) -> None:  # noqa: FBT001
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" if after_a_head else b""
    with suppress(AnswerError):
        fed(head + data, end=True)
