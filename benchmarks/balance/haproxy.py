"""HAProxy with leastconn, told the true weights."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from benchmarks.balance.answering import all_answer
from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Running, loopback
from benchmarks.balance.installed import path_of
from benchmarks.balance.ports import free_ports
from controlplane.settings import Address
from tests.processes import process

SETTINGS: Final = (
    "weights in proportion to the true capacities, a check each second, connections reused always,"
    " slowstart 10s, redispatch on 503"
)

_CONFIG: Final = """\
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 1s
  timeout client 600s
  timeout server 60s
  timeout http-keep-alive 600s
  option http-keep-alive
  option redispatch 1
  retries 3
  retry-on conn-failure empty-response 503
  http-reuse always
frontend sidecar
  bind {listen}
  default_backend pool
backend pool
  balance leastconn
  option httpchk
  http-check send meth GET uri /health ver HTTP/1.1 hdr host pool
  default-server check inter 1s fall 2 rise 1 slowstart 10s
{servers}
"""


def path() -> str:
    """Where it is."""
    return path_of("haproxy", "apt-get install -y haproxy")


def config(listen: Address, replicas: Sequence[Address], carries: Sequence[float]) -> str:
    """The configuration file of one sidecar."""
    # HAProxy takes whole weights up to 256.
    weights = [round(200 * each / max(carries)) for each in carries]
    servers = "\n".join(
        f"  server r{number} {address} weight {weight}"
        for number, (address, weight) in enumerate(zip(replicas, weights, strict=True))
    )
    return _CONFIG.format(listen=listen, servers=servers)


@asynccontextmanager
async def haproxy(folder: Path, cell: Cell, replicas: Sequence[Address]) -> AsyncIterator[Running]:
    """Run one process for each sidecar."""
    ports = free_ports(cell.sidecars)
    carries = [cell.scenario.carries(number) for number in range(len(replicas))]
    texts = {port: config(loopback(port), replicas, carries) for port in ports}
    async with started(folder, texts) as running:
        yield running


@asynccontextmanager
async def started(folder: Path, texts: Mapping[int, str]) -> AsyncIterator[Running]:
    """Run a process for each port, with its configuration file."""
    pids = []
    async with AsyncExitStack() as stack:
        for number, text in enumerate(texts.values()):
            file = folder / f"haproxy-{number}.cfg"
            file.write_text(text)
            # In the foreground and without a master process.
            command = (path(), "-db", "-f", file)
            log = folder / f"haproxy-{number}.log"
            pids.append((await stack.enter_async_context(process(*command, log=log))).pid)
        await all_answer([*texts], folder)
        yield Running([*texts], {"sidecars": pids})
