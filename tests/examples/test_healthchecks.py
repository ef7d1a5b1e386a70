"""What docker-compose.yaml calls healthy: its healthchecks, run against servers well and unwell."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.examples.compose import asked
from tests.processes import DEADLINE


@dataclass(frozen=True)
class Asks:
    """Where in its container a service's healthcheck asks."""

    service: str
    port: int
    path: str


ASKS = [
    Asks("control-plane", 8080, "/readyz"),
    Asks("replica-a", 9000, "/health"),
    pytest.param(
        Asks("sidecar-a", 10000, "/health"),
        marks=pytest.mark.skipif(
            shutil.which("bash") is None, reason="there is no bash here, which the image has"
        ),
    ),
]


def run(service: str, old: str, new: str) -> int:
    """Run a service's healthcheck with something of its container replaced; 0 is healthy."""
    argv = [part.replace(old, new) for part in asked(service)]
    assert argv != asked(service), f"{service}'s healthcheck has no {old}"
    argv[0] = sys.executable if argv[0] == "python" else argv[0]
    return subprocess.run(argv, capture_output=True, timeout=DEADLINE).returncode


@contextmanager
def answering(path: str, status: int) -> Iterator[int]:
    """Answer one path with a status and all others with 404; what comes out is the port."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(status if self.path == path else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("asks", ASKS, ids=lambda asks: asks.service)
def test_who_answers_200_is_healthy(asks: Asks) -> None:
    with answering(asks.path, 200) as port:
        assert run(asks.service, str(asks.port), str(port)) == 0


@pytest.mark.parametrize("asks", ASKS, ids=lambda asks: asks.service)
def test_who_answers_503_is_not_healthy(asks: Asks) -> None:
    with answering(asks.path, 503) as port:
        assert run(asks.service, str(asks.port), str(port)) != 0


@pytest.mark.parametrize("asks", ASKS, ids=lambda asks: asks.service)
def test_who_does_not_listen_is_not_healthy(asks: Asks) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert run(asks.service, str(asks.port), str(bound.getsockname()[1])) != 0


@pytest.mark.parametrize(("age", "healthy"), [(0, True), (60, False), (None, False)])
def test_an_application_is_healthy_while_its_file_is_renewed(
    tmp_path: Path, age: float | None, *, healthy: bool
) -> None:
    file = tmp_path / "healthy"
    if age is not None:
        file.touch()
        os.utime(file, (time.time() - age,) * 2)
    assert (run("application-a", "/tmp/healthy", str(file)) == 0) is healthy  # noqa: S108
