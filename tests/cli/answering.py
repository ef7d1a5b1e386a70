"""Commands against a real API server: the command in a thread, the server in the test's loop."""

import asyncio

from click.testing import CliRunner, Result

from controlplane.cli.group import plimsoll
from tests.api.served import Served


async def run(
    api: Served,
    *arguments: str,
    token: str | None = None,
    typed: str = "",
    columns: str | None = None,
) -> Result:
    """Call `plimsoll` as a shell would, without a terminal."""
    url = f"http://{api.address}"
    # Whoever runs the tests may have set COLUMNS.
    environment = {"PLIMSOLL_URL": url, "PLIMSOLL_TOKEN": token, "COLUMNS": columns}
    runner = CliRunner(env=environment)
    return await asyncio.to_thread(runner.invoke, plimsoll, arguments, input=typed)
