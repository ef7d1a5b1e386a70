"""These tests take KEDA's own scalers, which take minutes to build: see ``make test-keda``."""

import os

collect_ignore_glob = [] if os.environ.get("PLIMSOLL_KEDA") else ["test_*.py"]
