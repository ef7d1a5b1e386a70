"""What holds for every test."""

import signal
from typing import Final

import pytest
from hypothesis import settings

# How long an example takes says more of the machine than of the code; speed is for benchmarks/.
# A commit has the same examples in every run, so none fails by chance; others are tried with
# --hypothesis-profile=explore.
settings.register_profile("plimsoll", deadline=None, derandomize=True, max_examples=20)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("plimsoll")

# What runs in the background of a shell ignores Ctrl-C, and so would every program that tests start
# and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

_FIRST: Final = (
    "tests/api/test_schemathesis.py",
    "tests/observability/",
    "tests/envoy/",
    "tests/benchmarks/",
    "tests/page/",
    "tests/examples/",
    "tests/tools/",
    "tests/proxyless/",
    "tests/cli/",
    "tests/balancing/",
    "tests/plane/",
    "tests/store/",
    "tests/features/",
)
"""Where tests take seconds. A run ends with short ones, so no worker is idle for long then."""


def _place(test: pytest.Item) -> int:
    return next((at for at, path in enumerate(_FIRST) if test.nodeid.startswith(path)), len(_FIRST))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long tests first, in an order that all workers find."""
    items.sort(key=_place)
