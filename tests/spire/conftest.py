"""These tests take a real SPIRE, which takes minutes to build: see ``make test-spire``."""

import os

collect_ignore_glob = [] if os.environ.get("PLIMSOLL_SPIRE") else ["test_*.py"]
