"""How a request's body looks."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.tools.load.bodies import body_of, format_of, template


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
