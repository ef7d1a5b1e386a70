"""A real SPIRE server and its agent on loopback, and programs that the agent knows apart."""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from tests.processes import free_port, process, until

PROGRAMS: Final = Path(os.environ.get("PLIMSOLL_SPIRE", "."))
"""The folder of ``spire-server`` and ``spire-agent``; ``make test-spire`` builds them."""

_SERVER: Final = """
server {{
  bind_address = "127.0.0.1"
  bind_port = "{port}"
  socket_path = "{api}"
  trust_domain = "{domain}"
  data_dir = "{folder}"
  log_level = "WARN"
  default_x509_svid_ttl = "1h"
}}
plugins {{
  DataStore "sql" {{
    plugin_data {{
      database_type = "sqlite3"
      connection_string = "{folder}/datastore.sqlite3"
    }}
  }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
}}
"""

_AGENT: Final = """
agent {{
  data_dir = "{folder}"
  log_level = "WARN"
  server_address = "127.0.0.1"
  server_port = "{port}"
  socket_path = "{socket}"
  trust_bundle_path = "{folder}/bundle.pem"
  trust_domain = "{domain}"
  join_token = "{token}"
}}
plugins {{
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
  WorkloadAttestor "unix" {{ plugin_data {{ discover_workload_path = true }} }}
}}
"""


class Spire:
    """A server and an agent that run.

    Attributes:
        domain: Their trust domain.
        socket: That of the agent, where workloads ask.
    """

    def __init__(self, folder: Path, domain: str, sockets: Path) -> None:
        self.domain = domain
        self.socket = sockets / "agent.sock"
        self._folder, self._api = made(folder), sockets / "server.sock"

    def id(self, path: str) -> str:
        """The SPIFFE id with this path."""
        return f"spiffe://{self.domain}/{path}"

    async def server(self, *arguments: str) -> str:
        """Have the server carry out a command; returns what it prints.

        Raises:
            ChildProcessError: With what it says, where it refuses.
        """
        return await _output(PROGRAMS / "spire-server", *arguments, "-socketPath", str(self._api))

    def script(self, path: Path) -> None:
        """Write a program that has the server carry out commands, as ``spire-server`` does."""
        server = PROGRAMS / "spire-server"
        path.write_text(f'#!/bin/sh\nexec {server} "$@" -socketPath {self._api}\n')
        path.chmod(0o700)

    async def register(self, program: Path, *paths: str, ttl: int = 3600) -> None:
        """Let a program have these identities, for so many seconds each time."""
        for path in paths:
            options = {
                "parentID": self.id("machine"),
                "spiffeID": self.id(path),
                "selector": f"unix:path:{program}",
                "x509SVIDTTL": str(ttl),
            }
            pairs = [part for key, value in options.items() for part in (f"-{key}", value)]
            await self.server("entry", "create", *pairs)

    async def write(self, program: Path, folder: Path) -> None:
        """Write what the agent has for a copy of itself: ``svid.0.pem``, its key, the bundle."""
        arguments = ("api", "fetch", "x509", "-socketPath", str(self.socket))

        async def is_written() -> bool:
            # The agent hears of a new entry after some seconds.
            with suppress(ChildProcessError):
                await _output(program, *arguments, "-write", str(folder))
                return True
            return False

        await until(f"the agent has an identity for {program.name}", is_written)

    async def authorities(self) -> dict[str, str]:
        """The ids of the server's X.509 authorities, by what they are: active, prepared, old."""
        shown = json.loads(await self.server("localauthority", "x509", "show", "-output", "json"))
        return {kind: found["authority_id"] for kind, found in shown.items() if found}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Spire"]:
        """Run both until the context closes."""
        port, folder = free_port(), self._folder
        values = {"folder": folder, "domain": self.domain, "port": port}
        (folder / "server.conf").write_text(_SERVER.format(**values, api=self._api))
        run = ("run", "-config")
        server = process(
            PROGRAMS / "spire-server", *run, folder / "server.conf", log=folder / "server.log"
        )
        async with server as started:

            async def is_healthy() -> bool:
                assert started.returncode is None, (folder / "server.log").read_text()
                with suppress(ChildProcessError):
                    return "healthy" in await self.server("healthcheck")
                return False

            await until("the SPIRE server is well", is_healthy)
            (folder / "bundle.pem").write_text(await self.server("bundle", "show"))
            machine = ("-spiffeID", self.id("machine"))
            token = (await self.server("token", "generate", *machine)).split()[1]
            config = _AGENT.format(**values, socket=self.socket, token=token)
            (folder / "agent.conf").write_text(config)
            async with process(
                PROGRAMS / "spire-agent", *run, folder / "agent.conf", log=folder / "agent.log"
            ) as agent:

                async def listens() -> bool:
                    assert agent.returncode is None, (folder / "agent.log").read_text()
                    return self.socket.exists()

                await until("the SPIRE agent listens", listens)
                yield self


@asynccontextmanager
async def spire(folder: Path, domain: str) -> AsyncIterator[Spire]:
    """Run a SPIRE server and an agent, with files in a folder, until the context closes."""
    # The path of a socket has 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="spire-") as sockets:
        async with Spire(folder, domain, Path(sockets)).running() as running:
            yield running


def made(folder: Path) -> Path:
    """Make a folder."""
    folder.mkdir()
    return folder


def copied(program: Path, to: Path) -> Path:
    """Put a program at another path, by which an agent knows it from others."""
    try:
        os.link(program, to)
    except OSError:
        shutil.copy2(program, to)
    return to


async def _output(*command: str | Path) -> str:
    started = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await started.communicate()
    if started.returncode:
        raise ChildProcessError((output + errors).decode())
    return output.decode()


def report(words: str) -> None:
    """Say what was measured; ``make test-spire`` shows it."""
    sys.stderr.write(f"\n  measured: {words}\n")
