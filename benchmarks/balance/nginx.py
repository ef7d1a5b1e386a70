"""nginx with least_conn. Its checks are passive: it meets a replica that fails with a request."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from getpass import getuser
from pathlib import Path
from typing import Final

from benchmarks.balance.answering import all_answer
from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Running
from benchmarks.balance.installed import path_of
from benchmarks.balance.ports import free_ports
from controlplane.settings import Address
from tests.processes import process

SETTINGS: Final = (
    "one worker, 256 kept connections to replicas, max_fails 1, fail_timeout 1s, the next replica"
    " on error, timeout, 500 and 503"
)

_CONFIG: Final = """\
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx-{port}.pid;
error_log {folder}/nginx-{port}.log error;
events {{
  worker_connections 8192;
}}
http {{
  access_log off;
  client_body_temp_path {folder}/nginx-{port}-body;
  proxy_temp_path {folder}/nginx-{port}-proxy;
  fastcgi_temp_path {folder}/nginx-{port}-fastcgi;
  uwsgi_temp_path {folder}/nginx-{port}-uwsgi;
  scgi_temp_path {folder}/nginx-{port}-scgi;
  keepalive_timeout 600s;
  keepalive_requests 1000000;
  upstream pool {{
    least_conn;
{servers}
    keepalive 256;
    keepalive_timeout 600s;
    keepalive_requests 1000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://pool;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_connect_timeout 1s;
      proxy_read_timeout 60s;
      proxy_next_upstream error timeout http_500 http_503 non_idempotent;
    }}
  }}
}}
"""


def path() -> str:
    """Where it is."""
    return path_of("nginx", "apt-get install -y nginx-light")


def config(port: int, replicas: Sequence[Address], folder: Path) -> str:
    """The configuration file of one sidecar."""
    servers = "\n".join(
        f"    server {address} max_fails=1 fail_timeout=1s;" for address in replicas
    )
    return _CONFIG.format(port=port, servers=servers, folder=folder, user=getuser())


@asynccontextmanager
async def nginx(folder: Path, cell: Cell, replicas: Sequence[Address]) -> AsyncIterator[Running]:
    """Run a master and a worker for each sidecar."""
    ports = free_ports(cell.sidecars)
    async with started(folder, {port: config(port, replicas, folder) for port in ports}) as running:
        yield running


@asynccontextmanager
async def started(folder: Path, texts: Mapping[int, str]) -> AsyncIterator[Running]:
    """Run a master and a worker for each port, with its configuration file."""
    masters = []
    async with AsyncExitStack() as stack:
        for port, text in texts.items():
            file = folder / f"nginx-{port}.conf"
            file.write_text(text)
            command = (path(), "-p", folder, "-c", file, "-e", folder / f"nginx-{port}.log")
            log = folder / f"nginx-{port}.out"
            masters.append((await stack.enter_async_context(process(*command, log=log))).pid)
        await all_answer([*texts], folder)
        yield Running([*texts], {"sidecars": [_worker(pid) for pid in masters]})


def _worker(master: int) -> int:
    """The process that does the work; the master only watches it."""
    children = Path(f"/proc/{master}/task/{master}/children")
    return int(children.read_text().split()[0]) if children.exists() else master
