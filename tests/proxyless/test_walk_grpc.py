"""The page of gRPC clients as a reader follows it, each command as written."""

import re
import shlex
from contextlib import AsyncExitStack
from pathlib import Path

from tests.envoy.pools import pool
from tests.envoy.test_walk_certificates import ROOT, Page, Reader
from tests.processes import process, serving, until
from tests.proxyless.replicas import grpc_replica
from tests.proxyless.test_calls import CLIENT, POOL, SPOKEN, Calls


async def test_the_commands_of_the_page_connect_an_application(tmp_path: Path) -> None:
    reader, commands = Reader(tmp_path), Page("grpc.md").take("sh", "plimsoll bootstrap --grpc")
    (target,) = re.findall(r"xds:///\w+", commands)
    application, log = tmp_path / "application", tmp_path / "client.log"
    # Clients are named from the root of the repository, the bootstrap from where the reader is.
    application.write_text(
        "#!/bin/sh\nexport GRPC_XDS_BOOTSTRAP=$PWD/$GRPC_XDS_BOOTSTRAP\n"
        f"cd {ROOT} && exec {shlex.join([*CLIENT, target, '10'])}\n"
    )
    application.chmod(0o700)
    async with AsyncExitStack() as stack:
        door = await stack.enter_async_context(grpc_replica("a", 0.0))
        declared = pool(POOL, {"a": {"address": door.address}}, **SPOKEN)
        xds = {"address": reader.here("10.0.0.1:18000")}
        plane = await stack.enter_async_context(serving(tmp_path, [declared], xds_more=xds))
        prepare, run = commands.splitlines()
        await reader.runs(prepare)
        run = f"cd {tmp_path} && exec env {run}"
        env = {**reader.environment, "GRPC_VERBOSITY": "NONE"}
        await stack.enter_async_context(process("sh", "-c", run, log=log, env=env))

        async def has_called() -> bool:
            return log.exists() and Calls(log).answers.count("a") >= 10

        await until("the application calls the replica", has_called)
        shown = await reader.runs("plimsoll nodes", PLIMSOLL_URL=f"http://{plane.admin}")
        assert "app-1 (gRPC)" in shown
