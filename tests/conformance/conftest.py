"""These tests take the public suite ii/xds-test-harness: see ``make test-xds``."""

import os

collect_ignore_glob = [] if os.environ.get("PLIMSOLL_XDS_HARNESS") else ["test_*.py"]
