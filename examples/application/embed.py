"""An application that embeds texts, as one would be: it knows one address, its sidecar's.

Texts go to ``/v1/embeddings`` at a steady rate; every few seconds one line says how that went, and
a file is renewed as long as there are answers. Standard library only.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

TEXTS = (
    "The load line shows how deep a ship may lie in the water.",
    "Samuel Plimsoll fought for it in Parliament for most of his life.",
    "Fresh water carries less than salt water, so there is a mark for each.",
    "Which ships may load deeper in summer than in winter?",
    "A cargo of timber on deck has load lines of its own.",
    "Insurance made an overloaded ship worth more sunk than afloat, and crews knew it: a sailor who"
    " had signed on and then refused to board could be sent to prison.",
    "trim, draught, freeboard",
    "Good balance is less a matter of how much is carried than of where it is put.",
)
WORKERS = 4
"""Requests in flight at most. With all of them waiting the rate sinks; nothing piles up."""


@dataclass(frozen=True)
class Options:
    """What was asked for; times in seconds, the rate in requests per second."""

    host: str
    port: int
    model: str
    rate: float
    report: float
    timeout: float
    health_file: Path | None


@dataclass
class Tally:
    """What happened since the last report; several threads count here."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    problem: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, seconds: float) -> None:
        """Count an answer and how long it took."""
        with self.lock:
            self.seconds.append(seconds)

    def went_wrong(self, problem: str) -> None:
        """Count a request without a good answer; the last reason is kept."""
        with self.lock:
            self.failed += 1
            self.problem = problem

    def take(self) -> Report:
        """Hand over what was counted, and start anew."""
        with self.lock:
            report = Report(tuple(sorted(self.seconds)), self.failed, self.problem)
            self.seconds, self.failed, self.problem = [], 0, ""
        return report


@dataclass(frozen=True)
class Report:
    """One period: the sorted durations of its answers in seconds, and how many had none."""

    seconds: tuple[float, ...]
    failed: int
    problem: str = ""

    def __str__(self) -> str:
        count = len(self.seconds) + self.failed
        line = f"{count} requests, {self.failed} failed"
        if self.seconds:
            p50, p99 = (quantile(self.seconds, q) * 1000 for q in (0.5, 0.99))
            line += f", p50 {p50:.0f} ms, p99 {p99:.0f} ms"
        return f"{line} ({self.problem})" if self.problem else line


def quantile(ordered: Sequence[float], q: float) -> float:
    """The smallest value that a share ``q`` of the ordered values does not exceed."""
    return ordered[max(0, -int(-q * len(ordered) // 1) - 1)]


def batches(first: int) -> Iterator[list[str]]:
    """Requests without end, of one to four texts; each worker begins at another text."""
    for number in itertools.count(first):
        yield [TEXTS[(number + more) % len(TEXTS)] for more in range(1 + number % 4)]


class Embedder:
    """Asks for embeddings on one connection, which it opens anew when it was lost."""

    def __init__(self, options: Options) -> None:
        self._model = options.model
        self._connection = HTTPConnection(options.host, options.port, timeout=options.timeout)

    def embed(self, texts: list[str]) -> list[list[float]]:
        """Embed texts.

        Raises:
            OSError: Nobody answered in time.
            HTTPException: What came back is not HTTP.
            ValueError: The answer is not one embedding for each text.
        """
        body = json.dumps({"model": self._model, "input": texts})
        try:
            self._connection.request(
                "POST", "/v1/embeddings", body, {"Content-Type": "application/json"}
            )
            answer = self._connection.getresponse()
            said = answer.read()
        except (OSError, HTTPException):
            self._connection.close()
            raise
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")
        return _embeddings(said, len(texts))


def _embeddings(said: bytes, count: int) -> list[list[float]]:
    try:
        found = [entry["embedding"] for entry in json.loads(said)["data"]]
    except (KeyError, TypeError, ValueError):
        raise ValueError("the answer is no list of embeddings") from None
    if len(found) != count or not all(isinstance(one, list) and one for one in found):
        raise ValueError(f"{count} texts, but not {count} embeddings")
    return found


def work(number: int, options: Options, tally: Tally, stop: threading.Event) -> None:
    """Send this worker's share of the requests until told to stop."""
    embedder = Embedder(options)
    period = WORKERS / options.rate
    due = time.monotonic() + period * number / WORKERS
    for texts in batches(number * 2):
        if stop.wait(max(0.0, due - time.monotonic())):
            return
        started = time.monotonic()
        try:
            embedder.embed(texts)
        except (OSError, HTTPException, ValueError) as error:
            tally.went_wrong(str(error) or type(error).__name__)
        else:
            tally.answered(time.monotonic() - started)
        # What could not be sent in time is left out: made up for in a burst, it would keep a slow
        # system slow.
        due = max(due + period, time.monotonic())


def run(options: Options, stop: threading.Event) -> None:
    """Send and report until told to stop."""
    tally = Tally()
    for number in range(WORKERS):
        # Daemons, because an answer that is not there yet must not hold up the end.
        threading.Thread(target=work, args=(number, options, tally, stop), daemon=True).start()
    while not stop.wait(options.report):
        report = tally.take()
        say(str(report))
        if report.seconds and options.health_file is not None:
            options.health_file.touch()


def say(line: str) -> None:
    """Tell whoever reads the log, without delay."""
    sys.stdout.write(f"application: {line}\n")
    sys.stdout.flush()


def parse(argv: Sequence[str]) -> Options:
    """Read the command line; exits with status 2 and one line on bad usage."""
    parser = argparse.ArgumentParser(prog="embed", description="Embed texts through a sidecar.")
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="the sidecar's address (%(default)s)")
    add("--port", type=int, default=10000, help="its port (%(default)s)")
    add("--model", default="all-MiniLM-L6-v2", help="model to ask for (%(default)s)")
    add("--rate", type=_positive, default=10.0, help="requests per second (%(default)s)")
    add("--report", type=_positive, default=5.0, help="seconds between two lines (%(default)s)")
    add("--timeout", type=_positive, default=10.0, help="seconds to wait for bytes (%(default)s)")
    add("--health-file", type=Path, help="touched with each report that counts an answer")
    return Options(**vars(parser.parse_args(argv)))


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return number


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(parse(sys.argv[1:]), stop)


if __name__ == "__main__":
    main()
