"""HAProxy and nginx for any benchmark: where they are installed, their configuration, and a start.

Each has two set-ups: one to compare how load is balanced, one to compare what faults cost. Both
follow what their documentation recommends for that.
"""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from getpass import getuser
from pathlib import Path
from typing import Final

import aiohttp

from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Running, loopback
from benchmarks.machine import free_ports
from controlplane.config import Address
from tests.processes import process, until

HAPROXY_BALANCE: Final = {
    "timeouts": "",
    "retry_on": "conn-failure empty-response 503",
    "reuse": "always",
    "expect": "",
    "check": "fall 2 rise 1 slowstart 10s",
}
HAPROXY_FAILOVER: Final = {
    "timeouts": "\n  timeout http-request 10s",
    "retry_on": "all-retryable-errors",
    "reuse": "safe",
    "expect": "\n  http-check expect status 200",
    "check": "fall 2 rise 2 observe layer7 error-limit 10 on-error mark-down"
    " on-marked-down shutdown-sessions",
}
HAPROXY_BALANCE_SETTINGS: Final = (
    "weights in proportion to the true capacities, a check each second, connections reused always,"
    " slowstart 10s, redispatch on 503"
)
HAPROXY_FAILOVER_SETTINGS: Final = (
    "leastconn, a check each second with fall 2 rise 2, observe layer7 with error-limit 10 and"
    " on-error mark-down, on-marked-down shutdown-sessions, option redispatch 1, retries 3,"
    " retry-on all-retryable-errors, timeout connect 1s, timeout server 60s,"
    " timeout http-request 10s"
)

NGINX_BALANCE: Final = {
    "limits": "",
    "next": "error timeout http_500 http_503 non_idempotent",
}
NGINX_FAILOVER: Final = {
    "limits": "\n  client_max_body_size 64m;\n  client_body_buffer_size 4m;",
    "next": "error timeout invalid_header http_500 http_502 http_503 http_504 http_429"
    " non_idempotent;\n      proxy_next_upstream_tries 4",
}
NGINX_BALANCE_SETTINGS: Final = (
    "one worker, 256 kept connections to replicas, max_fails 1, fail_timeout 1s, the next replica"
    " on error, timeout, 500 and 503"
)
NGINX_FAILOVER_SETTINGS: Final = (
    "least_conn, max_fails 1, fail_timeout 1s, 256 kept connections, proxy_next_upstream error"
    " timeout invalid_header http_500 http_502 http_503 http_504 http_429 non_idempotent,"
    " proxy_next_upstream_tries 4, proxy_connect_timeout 1s, proxy_read_timeout 60s"
)

_HAPROXY: Final = """\
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 1s
  timeout client 600s
  timeout server 60s{timeouts}
  timeout http-keep-alive 600s
  option http-keep-alive
  option redispatch 1
  retries 3
  retry-on {retry_on}
  http-reuse {reuse}
frontend sidecar
  bind {listen}
  default_backend pool
backend pool
  balance leastconn
  option httpchk
  http-check send meth GET uri /health ver HTTP/1.1 hdr host pool{expect}
  default-server check inter 1s {check}
{servers}
"""

_NGINX: Final = """\
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
  scgi_temp_path {folder}/nginx-{port}-scgi;{limits}
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
      proxy_next_upstream {next};
    }}
  }}
}}
"""

_FOLDERS: Final = os.pathsep.join(
    (str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")
)


class NotInstalledError(Exception):
    """A program is missing; the message says how to get it."""


def path_of(program: str, command: str) -> str:
    """Return where a program is.

    Args:
        program: Its name.
        command: What installs it.

    Raises:
        NotInstalledError: The program is not installed.
    """
    found = shutil.which(program, path=_FOLDERS)
    if found is None:
        raise NotInstalledError(f"{program} is not installed: run {command}")
    return found


haproxy_path = partial(path_of, "haproxy", "apt-get install -y haproxy")
nginx_path = partial(path_of, "nginx", "apt-get install -y nginx-light")


async def all_answer(ports: Sequence[int], folder: Path) -> None:
    """Wait until a request gets through each of these ports."""
    async with aiohttp.ClientSession(trust_env=False) as session:

        async def answer() -> bool:
            for port in ports:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/health") as response:
                        if response.status != 200:
                            return False
                except aiohttp.ClientError:
                    return False
            return True

        await until(f"all proxies answer; see {folder}", answer)


def haproxy_config(
    setup: Mapping[str, str],
    listen: Address,
    replicas: Sequence[Address],
    carries: Sequence[float] = (),
) -> str:
    """Write the configuration of one sidecar.

    Args:
        setup: `HAPROXY_BALANCE` or `HAPROXY_FAILOVER`.
        listen: Where it listens.
        replicas: All of them.
        carries: What each can carry; empty: weights are equal.
    """
    # HAProxy takes whole weights up to 256.
    weights = [f" weight {round(200 * each / max(carries))}" for each in carries]
    servers = "\n".join(
        f"  server r{number} {address}{weight}"
        for number, (address, weight) in enumerate(
            zip(replicas, weights or [""] * len(replicas), strict=True)
        )
    )
    return _HAPROXY.format(listen=listen, servers=servers, **setup)


def nginx_config(
    setup: Mapping[str, str], port: int, replicas: Sequence[Address], folder: Path
) -> str:
    """Write the configuration of one sidecar; the set-up is `NGINX_BALANCE` or `NGINX_FAILOVER`."""
    servers = "\n".join(
        f"    server {address} max_fails=1 fail_timeout=1s;" for address in replicas
    )
    return _NGINX.format(port=port, servers=servers, folder=folder, user=getuser(), **setup)


@asynccontextmanager
async def haproxy(
    setup: Mapping[str, str], folder: Path, cell: Cell, replicas: Sequence[Address]
) -> AsyncIterator[Running]:
    """Run one process for each sidecar; to compare balancing it gets the true weights."""
    carries = [cell.scenario.carries(number) for number in range(len(replicas))]
    known = carries if setup is HAPROXY_BALANCE else ()
    ports, pids = free_ports(cell.sidecars), []
    async with AsyncExitStack() as stack:
        for number, port in enumerate(ports):
            file = folder / f"haproxy-{number}.cfg"
            file.write_text(haproxy_config(setup, loopback(port), replicas, known))
            # In the foreground and without a master process.
            command = (haproxy_path(), "-db", "-f", file)
            log = folder / f"haproxy-{number}.log"
            pids.append((await stack.enter_async_context(process(*command, log=log))).pid)
        await all_answer(ports, folder)
        yield Running(ports, {"sidecars": pids})


@asynccontextmanager
async def nginx(
    setup: Mapping[str, str], folder: Path, cell: Cell, replicas: Sequence[Address]
) -> AsyncIterator[Running]:
    """Run a master and a worker for each sidecar.

    Its checks are passive: it learns by a request that a replica fails.
    """
    ports, masters = free_ports(cell.sidecars), []
    async with AsyncExitStack() as stack:
        for port in ports:
            file = folder / f"nginx-{port}.conf"
            file.write_text(nginx_config(setup, port, replicas, folder))
            command = (nginx_path(), "-p", folder, "-c", file, "-e", folder / f"nginx-{port}.log")
            log = folder / f"nginx-{port}.out"
            masters.append((await stack.enter_async_context(process(*command, log=log))).pid)
        await all_answer(ports, folder)
        yield Running(ports, {"sidecars": [_worker(pid) for pid in masters]})


def _worker(master: int) -> int:
    """Return the process that does the work; the master only watches it."""
    children = Path(f"/proc/{master}/task/{master}/children")
    return int(children.read_text().split()[0]) if children.exists() else master
