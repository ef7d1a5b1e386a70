"""A program that starts commands in no time: it has all imported, and forks.

It has also built what Envoys are given once: the classes of messages are completed when they are
first used, which takes half a second of CPU.

It listens on a Unix socket, whose path is its argument, until its stdin ends. A client sends a line
of JSON, the arguments of ``plimsoll``, variables beside those of the tests and perhaps a folder to
run in, and the descriptors of stdin, stdout and stderr. The answer is a line with the pid and, once
that has ended, a line with its exit code. A command does not outlive the connection.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys

# So that no command has to.
import controlplane.app
import controlplane.cli.serve
import controlplane.tools.load.command  # noqa: F401
from controlplane.__main__ import main as plimsoll
from controlplane.api import pages
from controlplane.config import load_config
from controlplane.plane import Plane, Probe
from tests.planes import declare

CONFIG = """pools:
- name: p
  model: m
  listener: {address: "127.0.0.1:1"}
  replicas: [{id: a, address: "127.0.0.1:2"}]
"""


def main() -> None:
    """Fork for each connection."""
    warm_up()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(sys.argv[1])
        server.listen(64)
        print("ready", flush=True)  # noqa: T201 - that is how it says so
        while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                watch(connection)
            connection.close()


def warm_up() -> None:
    """Decide about a pool, and describe the API."""
    plane = Plane(0.0)
    declare(plane, load_config(CONFIG, "plimsoll.yaml"), 0.0)
    target = plane.target("p", "a")
    assert target is not None
    plane.probed(target, Probe.HEALTHY, 0.0)
    assert plane.decide(1.0).pools["p"].members
    pages.routes()


def watch(connection: socket.socket) -> None:
    """Start a command, and stay to see how it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection:
        line, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 3)
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            connection.close()
            os.chdir(order.get("cwd", "."))
            become(order["arguments"], order["env"], descriptors)
        # Whoever reads what it writes waits until nobody has that open any more.
        for each in descriptors:
            os.close(each)
        connection.sendall(f"{pid}\n".encode())
        asking = connection.fileno()
        if asking in select.select([asking, os.pidfd_open(pid)], [], [])[0]:
            # Whoever asked for it is gone without having ended it.
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(OSError):
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def become(arguments: list[str], env: dict[str, str], descriptors: list[int]) -> None:
    """Be a command from here on."""
    for number, each in enumerate(descriptors):
        os.dup2(each, number)
        os.close(each)
    os.environ.update(env)
    sys.argv = ["plimsoll", *arguments]
    plimsoll()


if __name__ == "__main__":
    main()
