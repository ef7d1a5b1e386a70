"""The classes by which requests are reported."""

from random import Random

import pytest

from controlplane.api.schema.pools import Header, Match
from controlplane.tools.load.workload import Lognormal, RequestClass, class_of, classes_by_size

JSON = {"content-type": "application/json"}


def test_sizes_that_are_far_apart_are_two_classes() -> None:
    bulk, others = classes_by_size([70] * 400 + [8000] * 40)
    assert bulk.match is not None
    assert bulk.match.min_bytes is not None
    assert 70 < bulk.match.min_bytes <= 8000
    assert (bulk.name, others.name, others.match) == ("bulk", "default", None)
    assert str(bulk) == f"bulk: requests from {bulk.match.min_bytes} bytes on"


def test_sizes_without_a_gap_are_one_class() -> None:
    drawing = Random(1876)  # noqa: S311 - a test's chance is always the same
    lengths = Lognormal(100, 1)
    assert not classes_by_size([40 + 4 * lengths.draw(drawing) for _ in range(500)])
    assert not classes_by_size([500] * 100)
    assert not classes_by_size([])


@pytest.mark.parametrize(
    ("match", "takes"),
    [
        (Match(min_bytes=100), True),
        (Match(min_bytes=101), False),
        (Match(max_bytes=100), True),
        (Match(max_bytes=99), False),
        (Match(prefix="/v1"), True),
        (Match(prefix="/v2"), False),
        (Match(prefix="/v1", max_bytes=99), False),
        (Match(header=Header(name="Content-Type", value="application/json")), True),
        (Match(header=Header(name="x-job", value="yes")), False),
    ],
)
def test_a_request_belongs_to_the_first_class_that_takes_it(match: Match, *, takes: bool) -> None:
    classes = [RequestClass("one", match), RequestClass("default", None)]
    found = class_of(classes, "/v1/embeddings", 100, JSON)
    assert found == ("one" if takes else "default")


def test_without_classes_a_request_belongs_to_none() -> None:
    assert not class_of((), "/v1/embeddings", 100, JSON)
