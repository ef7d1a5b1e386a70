"""What the demonstration sends, and what a right answer is."""

import json
from itertools import islice
from random import Random

import pytest

from controlplane.tools.demo.traffic import DIMENSIONS, LONG, SHORT, departures, fault, text
from controlplane.tools.load.http import Response
from controlplane.tools.load.schedule import plan


def answer(vector: object) -> bytes:
    return json.dumps({"data": [{"embedding": vector}]}).encode()


RIGHT = answer([DIMENSIONS**-0.5] * DIMENSIONS)


def test_one_embedding_of_length_1_is_right() -> None:
    assert fault(Response(200, body=RIGHT)) is None


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, RIGHT, "status 503"),
        (200, b"", "an answer without an embedding"),
        (200, b"[]", "an answer without an embedding"),
        (200, b'{"data": []}', "an answer without an embedding"),
        (200, answer("text"), "an answer without an embedding"),
        (200, answer(None), "an answer without an embedding"),
        (200, answer([1.0]), "an embedding of 1 numbers"),
        (200, answer([0.1] * DIMENSIONS), "an embedding of length 1.96"),
    ],
)
def test_anything_else_is_a_fault(status: int, body: bytes, said: str) -> None:
    assert fault(Response(status, body=body)) == said


def test_texts_are_short_and_long() -> None:
    drawing = Random(1876)  # noqa: S311 - a test's chance is always the same
    drawn = {text(drawing) for _ in range(2000)}
    assert drawn == {*SHORT, *LONG}


def test_sidecars_take_turns() -> None:
    (step,) = plan((20.0,), 0.0, 60.0)
    sent = [*islice(departures(step), 4)]
    assert [each.target for each in sent] == [0, 1, 0, 1]
    assert {json.loads(each.body)["input"] for each in sent} <= {*SHORT, *LONG}
