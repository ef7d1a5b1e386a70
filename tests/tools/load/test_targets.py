"""Where requests go, as it is written on a command line."""

import pytest

from controlplane.tools.load.targets import Target, parse_target

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
