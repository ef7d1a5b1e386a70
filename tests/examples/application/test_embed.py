"""The example application: what it asks, what it reports, and when it calls itself healthy."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from examples.application.embed import TEXTS, WORKERS, Embedder, Report, parse, quantile
from tests.processes import DEADLINE

PROGRAM = Path(__file__).parents[3] / "examples" / "application" / "embed.py"


@dataclass
class Sidecar:
    """Stands in for an Envoy with a replica behind it.

    Attributes:
        status: Of every answer.
        lack: Embeddings that are missing from every answer.
        asked: The body of each request.
        hold: Answers wait until it is set.
    """

    port: int = 0
    status: int = 200
    lack: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)


@contextmanager
def sidecar(**how: Any) -> Iterator[Sidecar]:
    state = Sidecar(**how)

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append(body)
            state.hold.wait()
            data = [{"embedding": [0.6, 0.8]} for _ in body["input"]][state.lack :]
            said = json.dumps({"data": data}).encode()
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(said)))
            with suppress(ConnectionError):  # whoever asked may be gone by now
                self.end_headers()
                self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        state.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield state
        state.hold.set()
        server.shutdown()


def open_sidecar(**how: Any) -> Any:
    hold = threading.Event()
    hold.set()
    return sidecar(hold=hold, **how)


@contextmanager
def running(port: int, *flags: str) -> Iterator[subprocess.Popen[str]]:
    argv = [str(PROGRAM), "--port", str(port), "--rate", "100", "--report", "0.3", *flags]
    with subprocess.Popen([sys.executable, *argv], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_it_asks_for_texts_of_its_own_and_says_how_it_went() -> None:
    with open_sidecar() as state, running(state.port) as process:
        said = line(process)
    assert " 0 failed, p50 " in said
    assert {body["model"] for body in state.asked} == {"all-MiniLM-L6-v2"}
    texts = {text for body in state.asked for text in body["input"]}
    assert texts <= {*TEXTS}
    assert len(texts) > 1


def test_it_calls_itself_healthy_once_it_was_answered(tmp_path: Path) -> None:
    file = tmp_path / "healthy"
    with open_sidecar() as state, running(state.port, "--health-file", str(file)) as process:
        assert not file.exists()
        # The file follows the line, so it is there when the next one is.
        line(process), line(process)
        assert file.exists()


def test_failures_are_counted_with_the_reason_and_are_not_health(tmp_path: Path) -> None:
    file = tmp_path / "healthy"
    with (
        open_sidecar(status=503) as state,
        running(state.port, "--health-file", str(file)) as process,
    ):
        said = line(process) and line(process)
    assert "(status 503)" in said
    assert " 0 failed" not in said
    assert "p50" not in said
    assert not file.exists()


def test_requests_do_not_pile_up_when_no_answer_comes() -> None:
    with sidecar() as state, running(state.port) as process:
        assert line(process).startswith("application: 0 requests")
        assert len(state.asked) == WORKERS


def test_it_stops_when_told_even_while_it_waits_for_answers() -> None:
    with sidecar() as state, running(state.port, "--timeout", "600") as process:
        line(process)
        process.terminate()
        assert process.wait(timeout=DEADLINE) == 0


@pytest.mark.parametrize(("status", "lack", "problem"), [(500, 0, "500"), (200, 1, "2 texts")])
def test_what_is_no_embedding_for_each_text_is_a_failure(
    status: int, lack: int, problem: str
) -> None:
    with open_sidecar(status=status, lack=lack) as state:
        embedder = Embedder(parse(["--port", str(state.port)]))
        with pytest.raises(ValueError, match=problem):
            embedder.embed(["a", "b"])


def test_a_connection_that_was_lost_is_opened_anew() -> None:
    with open_sidecar() as state:
        embedder = Embedder(parse(["--port", str(state.port), "--timeout", "0.1"]))
        state.hold.clear()
        with pytest.raises(TimeoutError):
            embedder.embed(["a"])
        state.hold.set()
        assert embedder.embed(["a"]) == [[0.6, 0.8]]


@pytest.mark.parametrize(
    ("q", "expected"), [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (0.995, 100.0), (1.0, 100.0)]
)
def test_a_quantile_is_the_value_that_so_many_do_not_exceed(q: float, expected: float) -> None:
    assert quantile([float(number) for number in range(1, 101)], q) == expected


def test_a_period_without_answers_has_no_quantiles() -> None:
    assert str(Report((), 3, "refused")) == "3 requests, 3 failed (refused)"


def test_a_rate_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(["--rate", "0"])
    assert refused.value.code == 2
    assert "'0' is not a number above 0" in capsys.readouterr().err
