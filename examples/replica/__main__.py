"""``python examples/replica --port 9001``: run one replica; see README.md beside this file."""

from __future__ import annotations

import asyncio
import os
import sys

from embedding_replica import options


def main() -> int:
    """Run until told to stop, and return the exit code."""
    asked = options.parse(sys.argv[1:])
    os.environ.update(asked.environment())
    # Only now: importing this imports numpy, which reads the environment.
    from embedding_replica import process

    try:
        asyncio.run(process.run(asked))
    except process.StartError as error:
        process.say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
