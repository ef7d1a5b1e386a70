"""The highest rate that ``plimsoll load`` itself sustains, against a server that answers at once.

    python -m benchmarks.generator_limit [LOW:HIGH] [STEPS]

A rate is sustained while the generator takes at most 60 % of a core and 99 % of the requests leave
less than 5 ms late; beyond, what it measures is itself. The server is a process of its own, so the
two need a core each.
"""

import asyncio
import json
import subprocess
import sys
from typing import Any, Final

import click

from benchmarks.machine import describe
from controlplane.tools.load.diagnosis import BUSY, LATE

_RATES: Final = "200:3200"
_STEPS: Final = "9"
_ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class _AtOnce(asyncio.Protocol):
    """Answers every request as soon as it is there, and looks at nothing but its length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._unread = transport, b""

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            head = self._unread[:end].lower()
            _, _, length = head.partition(b"content-length:")
            whole = end + 4 + int(length.split(b"\r\n")[0] or 0)
            if len(self._unread) < whole:
                return
            self._unread = self._unread[whole:]
            self._transport.write(_ANSWER)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_AtOnce, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def _measure(rates: str, steps: str) -> Any:
    serving = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.generator_limit", "--serve"], stdout=subprocess.PIPE
    )
    assert serving.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(serving.stdout.readline())}/embed"
        options = ("--rate", rates, "--steps", steps, "--duration", "10s", "--json")
        command = (sys.executable, "-m", "controlplane", "load", url, *options)
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    finally:
        serving.kill()
        serving.wait()


def main(rates: str = _RATES, steps: str = _STEPS) -> None:
    """Print a line for each rate, and the highest one that was sustained."""
    ran = describe()
    known = ("processor", "cores", "python", "commit", "load_average_before")
    click.echo(", ".join(f"{name} {ran[name]}" for name in known))
    click.echo(
        f"{'rate/s':>8} {'achieved':>9} {'CPU':>6} {'late p99 ms':>12} {'latency p99 ms':>15}"
    )
    best, missed = None, False
    for step in _measure(rates, steps)["steps"]:
        own, rate = step["generator"], step["rate_rps"]
        late = own["late_ms"]["p99"]
        click.echo(
            f"{rate:8.0f} {step['achieved_rps']:9.0f} {own['cpu']:6.0%} {late:12.2f}"
            f" {step['latency_ms']['p99']:15.2f}"
        )
        missed = missed or own["cpu"] > BUSY or late > 1000 * LATE or step["unsent"] > 0
        best = best if missed else rate
    click.echo(f"sustained: {'none of these' if best is None else f'{best:.0f} requests/s'}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        asyncio.run(_serve())
    else:
        main(*sys.argv[1:3])
