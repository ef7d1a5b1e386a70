"""The log never has anybody wait, and what clients do does not fill a disk with it."""

import logging
import os
import select
from collections.abc import Iterator

import pytest

from controlplane.cli.log import (
    EQUAL,
    EQUAL_SECONDS,
    MAX_WAITING,
    SIMILAR,
    SIMILAR_SECONDS,
    LogWriter,
)


class Pipe:
    """A pipe that is read when the test says so."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        self.now = 0.0
        self.log = LogWriter(self.write_end, lambda: self.now)
        self.log.setFormatter(logging.Formatter())
        self.logger = logging.Logger("test", logging.INFO)
        self.logger.addHandler(self.log)

    def lines(self) -> list[str]:
        """All of it, once no more comes."""
        found = b""
        while True:
            if select.select([self.read_end], [], [], 0.1)[0]:
                found += os.read(self.read_end, 1 << 16)
            elif self.log.finish(0.1) and not select.select([self.read_end], [], [], 0)[0]:
                return found.decode().splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    for end in (made.read_end, made.write_end):
        os.close(end)


def test_lines_come_in_their_order(pipe: Pipe) -> None:
    for number in range(5):
        pipe.logger.info("line %d", number)
    assert pipe.lines() == [f"line {number}" for number in range(5)]


def test_nobody_waits_for_a_reader_who_reads_nothing_and_what_is_dropped_is_counted(
    pipe: Pipe,
) -> None:
    for number in range(MAX_WAITING * 3):
        pipe.log.write(f"a line that is longer than some others, number {number}")
    assert not pipe.log.finish(0.1)
    lines = pipe.lines()
    dropped = sum(int(line.split()[2]) for line in lines if "nobody read in time" in line)
    written = [line for line in lines if line.startswith("a line")]
    assert dropped > MAX_WAITING
    assert len(written) + dropped == MAX_WAITING * 3


def test_a_reader_who_has_gone_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    log = LogWriter(write_end)
    log.write("to nobody")
    assert log.finish(10)
    os.close(write_end)


def test_of_many_lines_that_are_alike_some_are_written_and_the_others_counted(pipe: Pipe) -> None:
    for number in range(SIMILAR + 50):
        pipe.logger.info("%d connected", number)
        pipe.logger.info("%d left", number) if number < 2 else None
    pipe.now += SIMILAR_SECONDS
    pipe.logger.info("%d connected", -1)
    lines = pipe.lines()
    assert sum("connected" in line for line in lines) == SIMILAR + 2
    assert sum("left" in line for line in lines) == 2
    assert "… and 50 more lines like '%d connected'" in lines
    assert lines[-1] == "-1 connected"


def test_a_replica_that_comes_and_goes_and_an_envoy_that_rejects_do_not_flood(pipe: Pipe) -> None:
    for _ in range(60):
        pipe.logger.warning("%s is gone", "m/flapping")
        pipe.logger.info("%s is %s", "m/flapping", "ready")
        pipe.logger.warning("%s rejected %s: %s", "sidecar-1", "Cluster", "no port")
        pipe.now += EQUAL_SECONDS / 61
    pipe.logger.warning("%s is gone", "m/other")
    pipe.now += EQUAL_SECONDS
    pipe.logger.info("the next minute")
    lines = pipe.lines()
    assert lines.count("m/flapping is gone") == EQUAL
    assert lines.count("m/other is gone") == 1
    assert lines.count("sidecar-1 rejected Cluster: no port") == EQUAL
    assert f"… and {60 - EQUAL} times more: m/flapping is ready" in lines
    assert len(lines) == 3 * EQUAL + 1 + 3 + 1


def test_what_is_the_same_does_not_use_up_what_is_alike(pipe: Pipe) -> None:
    for _ in range(SIMILAR * 2):
        pipe.logger.info("%s is gone", "m/flapping")
    pipe.logger.info("%s is gone", "m/other")
    assert "m/other is gone" in pipe.lines()


def test_every_change_that_somebody_made_is_written(pipe: Pipe) -> None:
    audit = logging.Logger("controlplane.audit", logging.INFO)
    audit.addHandler(pipe.log)
    for number in range(SIMILAR * 3):
        audit.info("%s", number)
    assert len(pipe.lines()) == SIMILAR * 3


HANDSHAKE = (
    "I1130 04:03:47.455836   17090 ssl_transport_security.cc:2563] Handshake failed with error"
    " SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"
)


def test_what_libraries_write_goes_through_the_log_and_failed_handshakes_are_lines_of_it(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    log = LogWriter.to_stderr()
    with log.taking_stderr():
        os.write(2, f"{HANDSHAKE}CERTIFICATE_VERIFY_FAILED: certificate has expired\n".encode())
        os.write(2, f"{HANDSHAKE}PEER_DID_NOT_RETURN_A_CERTIFICATE: Invalid context\n".encode())
        os.write(2, b"another line\n")
    os.write(2, b"after it\n")
    assert log.finish(10)
    assert sorted(capfd.readouterr().err.splitlines()) == ["after it", "another line"]
    assert caplog.messages == [
        "xDS refuses a TLS connection: certificate has expired",
        "xDS refuses a TLS connection: peer did not return a certificate",
    ]
