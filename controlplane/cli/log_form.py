"""How lines of the log look: text for people, or a JSON object for each; without secrets."""

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from controlplane.cli.redaction import Redaction

LogForm: TypeAlias = Literal["text", "json"]

AUDIT: Final = "controlplane.audit"
"""The logger of changes; what it writes is JSON."""

MOST: Final = 16_384
"""Characters of a message; what an Envoy says may be megabytes."""

_TEXT: Final = "%(asctime)s %(levelname)s %(message)s"


class Form(logging.Formatter):
    """Makes lines of records."""

    def __init__(self, form: LogForm = "text") -> None:
        """Choose what lines are.

        Args:
            form: ``json``: an object with ``time``, ``level``, ``logger`` and ``message``; of a
                change ``audit`` in place of the message.
        """
        super().__init__(_TEXT)
        self._is_json = form == "json"

    def format(self, record: logging.LogRecord) -> str:
        """A line; a traceback that follows a line of text has some more."""
        change = _change(record)
        message = json.dumps(change) if change is not None else _short(record.getMessage())
        if not self._is_json:
            said_so = {**record.__dict__, "msg": "%s", "args": (message,)}
            return Redaction().text(super().format(logging.makeLogRecord(said_so)))
        said: dict[str, Any] = {"message": message} if change is None else {"audit": change}
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return self._object(record.levelname, record.name, record.created, **said)

    def own(self, line: str) -> str:
        """A line that is no record: of the log itself, or of a library."""
        line = _short(line)
        if not self._is_json:
            return Redaction().text(line)
        return self._object("INFO", "plimsoll", datetime.now(UTC).timestamp(), message=line)

    def _object(self, level: str, logger: str, at: float, **said: Any) -> str:
        time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": level.lower(), "logger": logger, **said}
        return json.dumps(Redaction().document(line), ensure_ascii=False)


def _short(text: str) -> str:
    left_out = len(text) - MOST
    return text if left_out <= 0 else f"{text[:MOST]}… ({left_out} more characters)"


def _change(record: logging.LogRecord) -> Any:
    """The change that a record of the audit log is about; None of any other record."""
    if record.name != AUDIT:
        return None
    try:
        return Redaction().document(json.loads(record.getMessage()))
    except ValueError:
        return None
