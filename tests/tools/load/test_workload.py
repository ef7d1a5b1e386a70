"""Where requests go, and what a request's body is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.tools.load.workload import Target, body_of, format_of, parse_target, template

URL = "http://127.0.0.1:10000/v1/embeddings"


def test_a_url_may_have_a_weight_before_it() -> None:
    assert parse_target(URL) == Target(URL, 1)
    assert parse_target(f"3@{URL}") == Target(URL, 3)
    assert parse_target("http://user@[::1]:80/embed?a=1").path == "/embed"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://127.0.0.1/embed", "only http is spoken here, as in"),
        ("127.0.0.1:10000", "is not a URL such as"),
        ("http://", "is not a URL such as"),
        ("http://a:0/", "is not a URL such as"),
        ("http://a:99999/", "is not a URL such as"),
        ("http://[::1/", "is not a URL such as"),
        ("http://a/ b", "is not a URL such as"),
        ("ftp://a/b", "is not a URL such as"),
        (f"0@{URL}", "a weight is a number from 1 to 1000"),
        (f"1001@{URL}", "a weight is a number from 1 to 1000"),
        (f"x@{URL}", "a weight is a number from 1 to 1000"),
        (f"@{URL}", "a weight is a number from 1 to 1000"),
    ],
)
def test_anything_else_is_refused_with_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        parse_target(text)
    assert "\n" not in str(caught.value)


def test_openai_and_tei_each_get_their_own_form() -> None:
    assert json.loads(body_of("openai", "m")("a text")) == {"model": "m", "input": "a text"}
    assert json.loads(body_of("tei", "m")("a text")) == {"inputs": "a text"}


@pytest.mark.parametrize(
    ("path", "form"), [("/embed", "tei"), ("/x/embed/", "tei"), ("/v1/embeddings", "openai")]
)
def test_the_path_says_which_form_is_wanted(path: str, form: str) -> None:
    assert format_of(path) == form


def test_a_template_is_filled_wherever_it_says_so() -> None:
    made = template('{"in": ["q: {{text}}", 1], "of": {"is": "{{model}}"}, "n": null}', "m")
    assert json.loads(made("a")) == {"in": ["q: a", 1], "of": {"is": "m"}, "n": None}


@given(st.text())
def test_any_text_arrives_as_it_is(text: str) -> None:
    assert json.loads(template('{"input": "{{text}}"}', "m")(text)) == {"input": text}


def test_a_text_is_not_looked_into() -> None:
    made = template('{"input": "{{text}}", "model": "{{model}}"}', "m")
    assert json.loads(made("{{model}} {{text}}"))["input"] == "{{model}} {{text}}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON: "),
        ("[" * 100_000, "is not JSON"),
        ('{"input": "text"}', 'has no place for a text: write "{{text}}" where it belongs'),
        ('{"{{text}}": 1}', "has no place for a text"),
    ],
)
def test_a_template_that_cannot_work_is_refused(content: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("{", r"\{")):
        template(content, "m")
