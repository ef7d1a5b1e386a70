"""What the benchmark does now, on standard error, with the time that it has taken so far."""

import sys
import time


class Progress:
    """Call it with what begins."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def __call__(self, what: str) -> None:
        """Show one line."""
        sys.stderr.write(f"[{time.monotonic() - self._begun:4.0f} s] {what}\n")
