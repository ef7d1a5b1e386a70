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


WAITING: Final = 10_000
"""Lines that wait to be written at most; more are dropped."""

ALIKE: Final = 100
"""Lines with the same words around what differs, within `SECONDS`; more are dropped."""

SECONDS: Final = 10.0

SAME: Final = 5
"""The same line, within `SAME_SECONDS`; more are dropped."""

SAME_SECONDS: Final = 60.0

JOINED: Final = 1.0
"""Seconds for the last lines of libraries; one that was forked may keep the pipe open."""

NEVER_ALIKE: Final = frozenset({AUDIT})
"""Loggers whose lines are never merged: each line is another change by somebody."""

_HANDSHAKE: Final = re.compile(r"ssl_transport_security.*OPENSSL_internal:([A-Z0-9_]+)(?:: (.*))?$")
"""Only gRPC knows why a TLS handshake on the xDS port fails, and it says so there alone."""

_log = logging.getLogger(__name__)


class LogWriter(logging.Handler):
    """Writes records to a file descriptor; `close` it at the end."""

    def __init__(
        self,
        number: int | None,
        clock: Callable[[], float] = time.monotonic,
        form: LogForm = "text",
    ) -> None:
        """Begin to write.

        Args:
            number: The file descriptor, which is not closed; None: nothing is written.
            clock: Seconds that never go back.
            form: Of the lines.
        """
        super().__init__()
        self._form = Form(form)
        self.setFormatter(self._form)
        self._number, self._clock = number, clock
        self._lines: queue.Queue[str | None] = queue.Queue(WAITING)
        self._dropped = 0
        self._since = self._same_since = clock()
        self._alike: dict[tuple[str, str], int] = {}
        self._same: dict[tuple[str, str], int] = {}
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    @classmethod
    def to_stderr(cls, form: LogForm = "text") -> "LogWriter":
        """A writer to standard error, be it closed: its number is another file's then."""
        return cls(None if sys.stderr is None else os.dup(sys.stderr.fileno()), form=form)

    @contextmanager
    def taking_stderr(self) -> Iterator[None]:
        """Take what libraries write to standard error, as long as the context is open.

        Otherwise their threads would wait for its reader, and clients could fill a disk.
        """
        if self._number is None:
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
            os.dup2(self._number, 2)
            reader.join(JOINED)

    def _take(self, reading: int) -> None:
        with os.fdopen(reading, errors="backslashreplace") as lines:
            for line in lines:
                if (failed := _HANDSHAKE.search(line)) is not None:
                    code, detail = failed.groups()
                    # Of any other failure the detail is about a certificate that was not looked at.
                    if code != "CERTIFICATE_VERIFY_FAILED" or not detail:
                        detail = code.replace("_", " ").lower()
                    _log.warning("xDS refuses a TLS connection: %s", detail)
                else:
                    self.say(line.rstrip("\n"))

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; never waits."""
        try:
            if record.name not in NEVER_ALIKE and self._is_flood(record):
                return
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as any handler: what is wrong with a line is its fault
            self.handleError(record)
            return
        self._put(line)

    def say(self, line: str) -> None:
        """Write a line that is no record; never waits."""
        self._put(self._form.own(line))

    def _put(self, line: str) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def finish(self, seconds: float) -> bool:
        """Write what waits; returns whether all of it was written in time."""
        deadline = time.monotonic() + seconds
        self._end_window()
        self._end_same()
        while time.monotonic() < deadline:
            with suppress(queue.Full):
                self._lines.put(None, timeout=0.05)
                break
        self._thread.join(max(deadline - time.monotonic(), 0.0))
        return not self._thread.is_alive()

    def _is_flood(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        if now - self._since >= SECONDS:
            self._since = now
            self._end_window()
        if now - self._same_since >= SAME_SECONDS:
            self._same_since = now
            self._end_same()
        kind, text = (record.name, str(record.msg)), (record.name, record.getMessage())
        if self._alike.get(kind, 0) < ALIKE:
            same = self._same[text] = self._same.get(text, 0) + 1
            if same > SAME:
                return True
        count = self._alike[kind] = self._alike.get(kind, 0) + 1
        return count > ALIKE

    def _end_window(self) -> None:
        """Say how many lines were left out because others were alike."""
        alike, self._alike = self._alike, {}
        for (_, words), count in alike.items():
            if count > ALIKE:
                self.say(f"… and {count - ALIKE} more lines like {words!r}")

    def _end_same(self) -> None:
        """Say how many lines were left out because they were the same."""
        same, self._same = self._same, {}
        for (_, line), count in same.items():
            if count > SAME:
                self.say(f"… and {count - SAME} times more: {line}")

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            dropped, self._dropped = self._dropped, 0
            if dropped:
                line += "\n" + self._form.own(
                    f"… and {dropped} more lines that nobody read in time"
                )
            data = f"{line}\n".encode(errors="backslashreplace")
            # Whoever read it has gone, or the disk is full: there is nowhere to say so.
            with suppress(OSError):
                while data and self._number is not None:
                    data = data[os.write(self._number, data) :]
