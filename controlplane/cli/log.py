"""Log lines to standard error, without secrets, from a thread of their own.

A pipe that nobody reads takes 64 KiB, and then a write waits: in the event loop everything would
stand still. Lines that cannot be written are counted instead. Similar lines are limited, and equal
lines more so: neither clients nor a flapping replica may fill a disk.
"""

import json
import logging
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from controlplane.cli.redaction import Redaction

LogFormat: TypeAlias = Literal["text", "json"]

AUDIT: Final = "controlplane.audit"
"""The logger of changes; its messages are JSON. Its lines are never limited: each is a change."""

MAX_MESSAGE: Final = 16_384
"""Characters; a rejection by Envoy may have megabytes."""

MAX_WAITING: Final = 10_000
"""Lines that wait to be written; more are dropped."""

SIMILAR: Final = 100
"""Lines of the same message with other values, within `SIMILAR_SECONDS`; more are dropped."""
SIMILAR_SECONDS: Final = 10.0

EQUAL: Final = 5
"""Equal lines within `EQUAL_SECONDS`; more are dropped."""
EQUAL_SECONDS: Final = 60.0

_STDERR_SECONDS: Final = 1.0
"""For the last lines of libraries; a forked process may keep the pipe open."""

_HANDSHAKE: Final = re.compile(r"ssl_transport_security.*OPENSSL_internal:([A-Z0-9_]+)(?:: (.*))?$")
"""Only gRPC knows why a TLS handshake on the xDS port fails, and writes this alone."""

_log = logging.getLogger(__name__)


class LineFormatter(logging.Formatter):
    """Makes lines of records: text, or JSON objects.

    An object has ``time``, ``level``, ``logger`` and ``message``; a change has ``audit`` instead.
    """

    def __init__(self, log_format: LogFormat = "text") -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._is_json = log_format == "json"

    def format(self, record: logging.LogRecord) -> str:
        """Make a line; a traceback follows a line of text."""
        change = _change(record)
        message = json.dumps(change) if change is not None else _cut(record.getMessage())
        if not self._is_json:
            copy = logging.makeLogRecord({**record.__dict__, "msg": "%s", "args": (message,)})
            return Redaction().text(super().format(copy))
        words: dict[str, Any] = {"message": message} if change is None else {"audit": change}
        if record.exc_info:
            words["exception"] = self.formatException(record.exc_info)
        return self._object(record.levelname, record.name, record.created, **words)

    def plain(self, line: str) -> str:
        """Make a line of a text that is no record: of the log itself, or of a library."""
        line = _cut(line)
        if not self._is_json:
            return Redaction().text(line)
        return self._object("INFO", "plimsoll", datetime.now(UTC).timestamp(), message=line)

    def _object(self, level: str, logger: str, at: float, **words: Any) -> str:
        clock = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        line = {"time": clock, "level": level.lower(), "logger": logger, **words}
        return json.dumps(Redaction().document(line), ensure_ascii=False)


def _cut(text: str) -> str:
    left_out = len(text) - MAX_MESSAGE
    return text if left_out <= 0 else f"{text[:MAX_MESSAGE]}… ({left_out} more characters)"


def _change(record: logging.LogRecord) -> Any:
    """The change that a record of the audit log holds; None for any other record."""
    if record.name != AUDIT:
        return None
    try:
        return Redaction().document(json.loads(record.getMessage()))
    except ValueError:
        return None


class _Limit:
    """Counts lines by key; after `seconds` all counts begin anew."""

    def __init__(self, most: int, seconds: float, words: str, now: float) -> None:
        self.most, self._seconds, self._words = most, seconds, words
        self._since, self._counts = now, dict[tuple[str, str], int]()

    def count(self, key: tuple[str, str]) -> int:
        return self._counts.get(key, 0)

    def exceeds(self, key: tuple[str, str]) -> bool:
        """Count a line; returns whether it is too many."""
        self._counts[key] = self.count(key) + 1
        return self._counts[key] > self.most

    def summaries(self, now: float) -> list[str]:
        """Begin anew if the time is over; returns a line for each key with lines left out."""
        if now - self._since < self._seconds:
            return []
        self._since, counts, self._counts = now, self._counts, {}
        return [
            self._words.format(count - self.most, repr(text), text)
            for (_, text), count in counts.items()
            if count > self.most
        ]


class LogWriter(logging.Handler):
    """Writes records to a file descriptor; `finish` it at the end."""

    def __init__(
        self,
        descriptor: int | None,
        clock: Callable[[], float] = time.monotonic,
        log_format: LogFormat = "text",
    ) -> None:
        """Begin to write; without a descriptor nothing is written, and none is ever closed."""
        super().__init__()
        self._formatter = LineFormatter(log_format)
        self.setFormatter(self._formatter)
        self._descriptor, self._clock = descriptor, clock
        self._lines: queue.Queue[str | None] = queue.Queue(MAX_WAITING)
        self._dropped = 0
        similar, equal = "… and {0} more lines like {1}", "… and {0} times more: {2}"
        self._similar = _Limit(SIMILAR, SIMILAR_SECONDS, similar, clock())
        self._equal = _Limit(EQUAL, EQUAL_SECONDS, equal, clock())
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    @classmethod
    def to_stderr(cls, log_format: LogFormat = "text") -> "LogWriter":
        """A writer to standard error; if that is closed, its number may be another file's."""
        descriptor = None if sys.stderr is None else os.dup(sys.stderr.fileno())
        return cls(descriptor, log_format=log_format)

    @contextmanager
    def taking_stderr(self) -> Iterator[None]:
        """Take what libraries write to standard error, as long as the context is open.

        Otherwise their threads would wait for its reader, and clients could fill a disk.
        """
        if self._descriptor is None:
            yield
            return
        reading, writing = os.pipe()
        os.dup2(writing, 2)
        os.close(writing)
        reader = threading.Thread(target=self._take, args=(reading,), name="stderr", daemon=True)
        reader.start()
        try:
            yield
        finally:
            os.dup2(self._descriptor, 2)
            reader.join(_STDERR_SECONDS)

    def _take(self, reading: int) -> None:
        with os.fdopen(reading, errors="backslashreplace") as lines:
            for line in lines:
                if (failed := _HANDSHAKE.search(line)) is not None:
                    code, detail = failed.groups()
                    # With any other code the detail is about a certificate that was not checked.
                    if code != "CERTIFICATE_VERIFY_FAILED" or not detail:
                        detail = code.replace("_", " ").lower()
                    _log.warning("xDS refuses a TLS connection: %s", detail)
                else:
                    self.write(line.rstrip("\n"))

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; never waits."""
        try:
            if record.name != AUDIT and self._is_flood(record):
                return
            line = self.format(record)
        except Exception:  # noqa: BLE001 - what is wrong with a record must not stop its caller
            self.handleError(record)
            return
        self._put(line)

    def write(self, line: str) -> None:
        """Write a line that is no record; never waits."""
        self._put(self._formatter.plain(line))

    def _put(self, line: str) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def finish(self, seconds: float) -> bool:
        """Write what waits; returns whether all of it was written in time."""
        deadline = time.monotonic() + seconds
        self._summarize(float("inf"))
        while time.monotonic() < deadline:
            with suppress(queue.Full):
                self._lines.put(None, timeout=0.05)
                break
        self._thread.join(max(deadline - time.monotonic(), 0.0))
        return not self._thread.is_alive()

    def _is_flood(self, record: logging.LogRecord) -> bool:
        self._summarize(self._clock())
        message, text = (record.name, str(record.msg)), (record.name, record.getMessage())
        has_room = self._similar.count(message) < SIMILAR
        if has_room and self._equal.exceeds(text):
            return True
        return self._similar.exceeds(message)

    def _summarize(self, now: float) -> None:
        for line in (*self._similar.summaries(now), *self._equal.summaries(now)):
            self.write(line)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            dropped, self._dropped = self._dropped, 0
            if dropped:
                line += "\n" + self._formatter.plain(
                    f"… and {dropped} more lines, which nobody read in time"
                )
            data = f"{line}\n".encode(errors="backslashreplace")
            # If the reader has gone or the disk is full, there is nowhere to report that.
            with suppress(OSError):
                while data and self._descriptor is not None:
                    data = data[os.write(self._descriptor, data) :]
