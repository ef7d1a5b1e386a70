"""Why a demonstration cannot start or go on."""

from pathlib import Path


class DemoError(Exception):
    """The text is one sentence for whoever started it."""


class ChildDiedError(DemoError):
    """One of the processes ended by itself."""

    def __init__(self, name: str, code: int, log: Path, lines: int = 15) -> None:
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        tail = _tail(log, lines)
        said = f"; the end of its log:\n{tail}" if tail else " without a word"
        super().__init__(f"{name} ended {how}{said}")
        self.name = name


def _tail(log: Path, lines: int) -> str:
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])
