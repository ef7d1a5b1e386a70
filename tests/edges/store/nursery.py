"""A program that starts control planes in no time: it has all imported, and forks.

It reads the paths of config files, one a line. For each it forks a child that serves it, and prints
the child's pid and the port of its API. What the children do is theirs alone to end.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
from pathlib import Path

from controlplane.assembly import running
from controlplane.edges.config_file import read_config


async def serve(path: Path) -> None:
    """Serve a config file until killed."""
    async with running(read_config(path), path) as addresses:
        print(os.getpid(), addresses.admin.port, flush=True)  # noqa: T201 - that is what it is for
        await asyncio.Event().wait()


def main() -> None:
    """Fork a child for each line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()
    for line in sys.stdin:
        if os.fork() == 0:
            logging.basicConfig(level="WARNING")
            try:
                asyncio.run(serve(Path(line.strip())))
            finally:
                os._exit(1)


if __name__ == "__main__":
    main()
