"""Lines of the log, as text and as JSON: what is in them, and that no secret is."""

import json
import logging
import re
import sys
from datetime import datetime
from typing import Any

import pytest

from controlplane.cli.log import AUDIT, MAX_MESSAGE, LineFormatter, LogFormat

CHANGE = {
    "who": "alice",
    "change": "changed",
    "pool": "m",
    "after": {"health_check": {"headers": {"authorization": "Bearer hc-7Qx2-93kd"}}},
}
FORMS = pytest.mark.parametrize("form", ["text", "json"])


def record(name: str, words: str, *arguments: Any, error: bool = False) -> logging.LogRecord:
    about = sys.exc_info() if error else None
    return logging.LogRecord(name, logging.WARNING, __file__, 1, words, arguments, about)


def test_a_line_of_text_has_time_level_and_message() -> None:
    line = LineFormatter().format(
        record("controlplane.app", "%s rejected %s", "sidecar-1", "clusters")
    )
    assert re.fullmatch(r"[\d-]+ [\d:,]+ WARNING sidecar-1 rejected clusters", line)


def test_a_line_of_json_has_the_same_and_its_logger() -> None:
    line = json.loads(LineFormatter("json").format(record("controlplane.app", "%s left", "“ä”\n")))
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line == {"level": "warning", "logger": "controlplane.app", "message": "“ä”\n left"}


def test_every_line_of_json_is_one_line_also_with_a_traceback() -> None:
    try:
        json.loads("{\n")
    except ValueError:
        line = LineFormatter("json").format(record("x", "a fault of ours", error=True))
    assert "\n" not in line
    assert "Traceback" in json.loads(line)["exception"]


def test_what_is_no_record_is_an_object_too() -> None:
    assert LineFormatter().plain("plimsoll: stopping") == "plimsoll: stopping"
    line = json.loads(LineFormatter("json").plain("plimsoll: stopping"))
    assert (line["level"], line["message"]) == ("info", "plimsoll: stopping")


def test_a_change_is_an_object_in_its_line() -> None:
    line = json.loads(LineFormatter("json").format(record(AUDIT, "%s", json.dumps(CHANGE))))
    assert line["audit"]["who"] == "alice"
    assert "message" not in line
    text = LineFormatter().format(record(AUDIT, "%s", json.dumps(CHANGE)))
    assert json.loads(text.partition("WARNING ")[2])["pool"] == "m"


@FORMS
@pytest.mark.parametrize(
    "made",
    [
        record(AUDIT, "%s", json.dumps(CHANGE)),
        record("x", "no answer from %s", "https://me:hc-7Qx2-93kd@example.org/"),
        record("x", "headers.x-api-key: %r must match", "hc-7Qx2-93kd"),
        record("x", "it said Authorization: Bearer hc-7Qx2-93kd"),
        record("x", "GET /metrics?token=hc-7Qx2-93kd failed"),
        record("x", "-----BEGIN PRIVATE KEY-----\nhc-7Qx2-93kd\n-----END PRIVATE KEY-----"),
    ],
    ids=lambda made: made.getMessage()[:20],
)
def test_no_secret_is_in_a_line(form: LogFormat, made: logging.LogRecord) -> None:
    line = LineFormatter(form).format(made)
    assert "hc-7Qx2-93kd" not in line
    assert "[removed]" in line


@FORMS
def test_no_secret_is_in_what_libraries_write(form: LogFormat) -> None:
    assert "hc-7Qx2-93kd" not in LineFormatter(form).plain("E0000 token=hc-7Qx2-93kd")


@FORMS
def test_a_message_of_megabytes_is_cut(form: LogFormat) -> None:
    line = LineFormatter(form).format(
        record("x", "%s rejected it: %s", "sidecar-1", "y" * 4_000_000)
    )
    assert "more characters" in line
    assert len(line) < MAX_MESSAGE + 200
    assert len(LineFormatter(form).plain("y" * 4_000_000)) < MAX_MESSAGE + 200
