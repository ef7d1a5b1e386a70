"""These tests take a real istiod, which takes minutes to build: see ``make test-istio``."""

import os

collect_ignore_glob = [] if os.environ.get("PLIMSOLL_ISTIOD") else ["test_*.py"]
