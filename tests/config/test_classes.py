"""Classes of requests as a user names them; what is refused is said in one sentence."""

from typing import Any

import pytest

from controlplane.config import ClassMatch, PoolSettings, SettingsError, load_config, validated

POOL = """pools:
  - name: p
    model: m
    listener: {address: "127.0.0.1:10000"}
"""


def of(*classes: str, more: str = "") -> PoolSettings:
    """A pool with these classes, whose first is in line 6."""
    lines = "".join(f"      - {request_class}\n" for request_class in classes)
    (pool,) = load_config(f"{POOL}    classes:\n{lines}{more}", "f.yaml").pools
    return pool.settings()


def refusal(*classes: str, more: str = "") -> str:
    with pytest.raises(SettingsError) as caught:
        of(*classes, more=more)
    return str(caught.value)


def test_a_class_has_a_name_a_match_and_perhaps_an_objective() -> None:
    first, second, third = (
        of(
            "{name: bulk, match: {header: {name: x-job, value: a b}}, objective: {p99: 30s}}",
            "{name: search, match: {prefix: /v1/batch}}",
            "{name: long, match: {min_bytes: 10, max_bytes: 20}}",
        ).classes
        or ()
    )
    assert first.match.header is not None
    assert (first.match.header.name, first.match.header.value) == ("x-job", "a b")
    assert first.objective is not None
    assert first.objective.p99 == 30.0
    assert (second.name, second.match.prefix, second.objective) == ("search", "/v1/batch", None)
    assert third.match.lengths == (10, 20)


def test_no_classes_are_named_by_default() -> None:
    assert (
        validated(PoolSettings, {"model": "m", "listener": {"address": "1.2.3.4:5"}}).classes
        is None
    )


def test_what_was_read_is_shown_as_it_was_put() -> None:
    written = {"name": "a", "match": {"min_bytes": 1}, "objective": {"p99": "30s"}}
    settings = of("{name: a, match: {min_bytes: 1}, objective: {p99: 30s}}")
    shown = settings.model_dump(mode="json", exclude_unset=True)["classes"]
    assert shown == [written]


WHERE = "f.yaml:6: pools[0].classes[0]"
NEXT = "f.yaml:7: pools[0].classes[1]"
AT_LENGTH = "{name: a, match: {min_bytes: 5, max_bytes: 9}}"


@pytest.mark.parametrize(
    ("classes", "problem"),
    [
        (["{name: a, match: {}}"], f"{WHERE}.match: must say which requests belong to the class"),
        (
            ["{name: a, match: {min_bytes: 5, max_bytes: 3}}"],
            f"{WHERE}.match.min_bytes: is more than max_bytes, 3: no request has such a length",
        ),
        (
            ["{name: a, match: {min_bytes: -1}}"],
            f"{WHERE}.match.min_bytes: must be at least 0, not -1",
        ),
        (["{name: default, match: {min_bytes: 1}}"], f"{WHERE}.name: default is the class of all"),
        (["{name: 'a:b', match: {min_bytes: 1}}"], f"{WHERE}.name: 'a:b' must match"),
        (["{name: a, match: {min_byte: 1}}"], f"{WHERE}.match.min_byte: unknown key; did you mean"),
        (["{name: a}"], f"{WHERE}.match: is required and missing"),
        (
            ["{name: a, match: {header: {name: x}}}"],
            f"{WHERE}.match.header.value: is required and missing",
        ),
        (["{name: a, match: {header: {name: ':path', value: x}}}"], f"{WHERE}.match.header.name: "),
        (["{name: a, match: {prefix: x}}"], f"{WHERE}.match.prefix: 'x' must match"),
        (["{name: a, match: {prefix: //x}}"], f"{WHERE}.match.prefix: '//x' matches no request"),
        (["{name: a, match: {prefix: /}}"], f"{WHERE}.match.prefix: takes every request"),
        (
            [AT_LENGTH, "{name: a, match: {prefix: /x}}"],
            f"{NEXT}.name: two classes have the name a; each needs its own",
        ),
        (
            [AT_LENGTH, "{name: b, match: {min_bytes: 5, max_bytes: 9}}"],
            f"{NEXT}.match: is the same as that of class a",
        ),
        (
            [AT_LENGTH, "{name: b, match: {min_bytes: 6, max_bytes: 9, prefix: /x}}"],
            f"{NEXT}.match: takes nothing that class a above does not take first",
        ),
        (
            ["{name: a, match: {prefix: /v1}}", "{name: b, match: {prefix: /v1/x, min_bytes: 1}}"],
            f"{NEXT}.match: takes nothing that class a above does not take first",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(classes: list[str], problem: str) -> None:
    assert refusal(*classes).startswith(problem)


@pytest.mark.parametrize(
    ("balancing", "problem"),
    [
        ("{policy: round-robin}", "need policy capacity-tiers, not round-robin"),
        ("{policy: weighted-least-request}", "need policy capacity-tiers, not weighted-"),
        ("{policy: ring-hash, hash: {header: x}}", "need policy capacity-tiers, not ring-hash"),
    ],
)
def test_classes_need_tiers(balancing: str, problem: str) -> None:
    more = f"    balancing: {balancing}\n"
    assert refusal(AT_LENGTH, more=more).startswith(f"f.yaml:5: pools[0].classes: {problem}")


def test_a_prefix_is_below_the_route() -> None:
    route = "    route: {prefix: /v1}\n"
    assert of("{name: a, match: {prefix: /v1/x}}", more=route).classes
    assert "/v1x is not below" in refusal("{name: a, match: {prefix: /v1x}}", more=route)
    problem = refusal("{name: a, match: {prefix: /v2}}", more=route)
    assert problem == (
        f"{WHERE}.match.prefix: /v2 is not below the pool's route, /v1: no such request comes here"
    )
    assert "takes every request" in refusal("{name: a, match: {prefix: /v1}}", more=route)


def test_no_class_at_all_is_no_list() -> None:
    body = {"model": "m", "listener": {"address": "1.2.3.4:5"}, "classes": []}
    with pytest.raises(SettingsError, match="classes: has no class in it: leave it out"):
        validated(PoolSettings, body)


def test_there_are_eight_at_most() -> None:
    classes = [f"{{name: a{index}, match: {{prefix: /{index}}}}}" for index in range(9)]
    assert len(of(*classes[:8]).classes or ()) == 8
    assert refusal(*classes).startswith("f.yaml:5: pools[0].classes: ")


MATCHES: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({"prefix": "/a"}, {"prefix": "/a/b"}, True),
    ({"prefix": "/a"}, {"prefix": "/ab"}, False),
    ({"prefix": "/ab"}, {"prefix": "/a"}, False),
    ({"prefix": "/a"}, {"min_bytes": 1}, False),
    ({"min_bytes": 0}, {"prefix": "/a"}, False),
    ({"min_bytes": 0}, {"max_bytes": 1}, True),
    ({"min_bytes": 5}, {"min_bytes": 4}, False),
    ({"max_bytes": 5}, {"min_bytes": 5, "max_bytes": 5}, True),
    ({"header": {"name": "X-a", "value": "1"}}, {"header": {"name": "x-A", "value": "1"}}, True),
    ({"header": {"name": "x", "value": "1"}}, {"header": {"name": "x", "value": "2"}}, False),
    ({"header": {"name": "x", "value": "1"}}, {"header": {"name": "y", "value": "1"}}, False),
    (
        {"header": {"name": "x", "value": "1"}},
        {"header": {"name": "x", "value": "1"}, "max_bytes": 1},
        True,
    ),
]


@pytest.mark.parametrize(("first", "second", "takes_all"), MATCHES)
def test_one_match_takes_all_of_another(
    first: dict[str, Any], second: dict[str, Any], *, takes_all: bool
) -> None:
    above, below = ClassMatch.model_validate(first), ClassMatch.model_validate(second)
    assert above.takes_all_of(below) is takes_all
