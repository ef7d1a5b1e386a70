"""Shell completion: commands, and names that the control plane is asked for."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.api.served import Served, served
from tests.processes import run

TOKEN = "s3cret"  # noqa: S105 - of a server that only this test knows


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with served() as here:
        yield await here.filled()


async def completed(
    url: str, line: str, shell: str = "bash", env: Mapping[str, str] | None = None
) -> list[str]:
    """What a shell is given for a line whose last word is begun; as its script asks for it."""
    words = line.split(" ")
    mode = {"_PLIMSOLL_COMPLETE": f"{shell}_complete", "PLIMSOLL_URL": url}
    mode |= {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    if shell == "fish":
        mode |= {"COMP_CWORD": words[-1]}
    _, output, errors = await run(env={**mode, **(env or {})})
    assert errors == ""
    return output.split()


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("plimsoll explain ", ["m"]),
        ("plimsoll explain q", []),
        ("plimsoll explain m --replica ", ["a", "b"]),
        ("plimsoll replicas drain ", ["m"]),
        ("plimsoll replicas drain m ", ["a", "b"]),
        ("plimsoll replicas remove m b", ["b"]),
        ("plimsoll replicas list ", ["m"]),
        ("plimsoll pools remove ", ["m"]),
        ("plimsoll top m", ["m"]),
        ("plimsoll replicas undrain q ", []),
        ("plimsoll replicas dr", ["drain"]),
        ("plimsoll po", ["pools"]),
    ],
)
async def test_names_come_from_the_control_plane(api: Served, line: str, names: list[str]) -> None:
    found = await completed(f"http://{api.address}", line)
    assert found == [f"plain,{name}" for name in names]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
async def test_other_shells_get_them_in_their_own_way(api: Served, shell: str) -> None:
    found = await completed(f"http://{api.address}", "plimsoll explain ", shell)
    assert "m" in "\n".join(found).replace("plain", "").replace(",", "").split()


async def test_options_and_the_token_count(api: Served) -> None:
    async with served(token=TOKEN) as guarded:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        pool = {"model": "x", "listener": {"address": "127.0.0.1:10000"}}
        await guarded.ask("PUT", "/v1/pools/secret", json=pool, headers=headers)
        line = f"plimsoll explain --url http://{guarded.address} "
        url = f"http://{api.address}"
        assert await completed(url, line) == []
        assert await completed(url, line, env={"PLIMSOLL_TOKEN": TOKEN}) == ["plain,secret"]


async def test_where_nobody_can_be_asked_there_is_no_name_and_no_word_of_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    for wrong in (url, "nonsense", "http://[:x"):
        assert await completed(wrong, "plimsoll explain ") == []


async def test_bash_completes_with_the_script_that_the_docs_name(
    api: Served, tmp_path: Path
) -> None:
    command = tmp_path / "plimsoll"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m controlplane "$@"\n')
    command.chmod(0o755)
    script = """
eval "$(_PLIMSOLL_COMPLETE=bash_source plimsoll)"
COMP_WORDS=(plimsoll replicas drain m "")
COMP_CWORD=4
_plimsoll_completion plimsoll
echo "${COMPREPLY[*]}"
"""
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PLIMSOLL_URL": f"http://{api.address}",
    }
    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "--norc", "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("a b\n", "")
