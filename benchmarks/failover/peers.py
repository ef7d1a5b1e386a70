"""HAProxy and nginx, set up for failover as their documentation recommends."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from getpass import getuser
from pathlib import Path
from typing import Final

from benchmarks.balance import haproxy, nginx
from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Running, loopback
from benchmarks.balance.ports import free_ports
from controlplane.settings import Address

HAPROXY_SETTINGS: Final = (
    "leastconn, a check each second with fall 2 rise 2, observe layer7 with error-limit 10 and"
    " on-error mark-down, on-marked-down shutdown-sessions, option redispatch 1, retries 3,"
    " retry-on all-retryable-errors, timeout connect 1s, timeout server 60s,"
    " timeout http-request 10s"
)
NGINX_SETTINGS: Final = (
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
  timeout server 60s
  timeout http-request 10s
  timeout http-keep-alive 600s
  option http-keep-alive
  option redispatch 1
  retries 3
  retry-on all-retryable-errors
  http-reuse safe
frontend sidecar
  bind {listen}
  default_backend pool
backend pool
  balance leastconn
  option httpchk
  http-check send meth GET uri /health ver HTTP/1.1 hdr host pool
  http-check expect status 200
  default-server check inter 1s fall 2 rise 2 observe layer7 error-limit 10 on-error mark-down\
 on-marked-down shutdown-sessions
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
  scgi_temp_path {folder}/nginx-{port}-scgi;
  client_max_body_size 64m;
  client_body_buffer_size 4m;
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
      proxy_next_upstream error timeout invalid_header http_500 http_502 http_503 http_504\
 http_429 non_idempotent;
      proxy_next_upstream_tries 4;
    }}
  }}
}}
"""


def haproxy_config(listen: Address, replicas: Sequence[Address]) -> str:
    """The configuration file of one sidecar."""
    servers = "\n".join(f"  server r{number} {address}" for number, address in enumerate(replicas))
    return _HAPROXY.format(listen=listen, servers=servers)


def nginx_config(port: int, replicas: Sequence[Address], folder: Path) -> str:
    """The configuration file of one sidecar."""
    servers = "\n".join(
        f"    server {address} max_fails=1 fail_timeout=1s;" for address in replicas
    )
    return _NGINX.format(port=port, servers=servers, folder=folder, user=getuser())


@asynccontextmanager
async def start_haproxy(
    folder: Path, cell: Cell, replicas: Sequence[Address]
) -> AsyncIterator[Running]:
    """Run one process for each sidecar."""
    ports = free_ports(cell.sidecars)
    texts = {port: haproxy_config(loopback(port), replicas) for port in ports}
    async with haproxy.started(folder, texts) as running:
        yield running


@asynccontextmanager
async def start_nginx(
    folder: Path, cell: Cell, replicas: Sequence[Address]
) -> AsyncIterator[Running]:
    """Run a master and a worker for each sidecar."""
    ports = free_ports(cell.sidecars)
    texts = {port: nginx_config(port, replicas, folder) for port in ports}
    async with nginx.started(folder, texts) as running:
        yield running
