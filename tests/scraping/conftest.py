import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from controlplane.scraping.scrape import Getter, Receiver
from tests.scraping.says import MOST


@pytest.fixture
def getter() -> Iterator[Getter]:
    """One of its own; its connection is closed in the end."""
    with closing(Getter(Receiver(time.monotonic, MOST))) as opened:
        yield opened
