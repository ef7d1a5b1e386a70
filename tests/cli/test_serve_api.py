"""``plimsoll serve`` as a process: its API joined with its config file, its tokens and its end."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from controlplane.config import Role, Token
from tests.cli.test_serve import POOL, config
from tests.processes import DEADLINE, free_port, run, serving, until

TOKEN = "a-token-of-somebody"  # noqa: S105 - of a server that only this test knows
OTHER = "a-token-of-somebody-else"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("short", ": must hold one token of at least 16 ASCII characters, or lines that"),
        (f"\nadmin {'0' * 64}", ':2: must be "role sha256 [name]" with the role read, register,'),
        (None, ": cannot be read: No such file or directory"),
    ],
)
async def test_a_token_file_that_is_wrong_is_named_with_its_line(
    tmp_path: Path, text: str | None, says: str
) -> None:
    tokens = tmp_path / "tokens"
    if text is not None:
        tokens.write_text(text)
    path = config(tmp_path, {"admin": {"address": "127.0.0.1:0", "token_file": str(tokens)}})
    code, _, errors = await run("serve", "--config", path)
    assert code == 2
    assert says in errors
    assert len(errors.splitlines()) == 1


async def test_what_the_config_file_changes_is_in_the_audit_log_and_in_the_events(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, [POOL]) as plane, aiohttp.ClientSession() as session:
        async with session.get(f"http://{plane.admin}/v1/events") as events:
            assert b"id: " in await events.content.readline()
            path = tmp_path / "plimsoll.yaml"
            data = yaml.safe_load(path.read_text())
            second = POOL | {"name": "second", "listener": {"address": "127.0.0.1:10001"}}
            config(tmp_path, data | {"pools": [POOL, second]})
            seen = b""
            async with asyncio.timeout(DEADLINE):
                while b'"pool": "second", "change": "added"' not in seen:
                    seen = await events.content.readline()
        entries: list[dict[str, Any]] = (await plane.get("/v1/audit"))["entries"]
        assert [(entry["who"], entry["pool"], entry["change"]) for entry in entries] == [
            ("config file", "second", "added")
        ]


async def test_a_replica_whose_lease_runs_out_is_told_of_while_it_happens(tmp_path: Path) -> None:
    async with serving(tmp_path, [POOL]) as plane:
        body = {"address": f"127.0.0.1:{free_port()}", "ttl": "100ms"}
        assert await plane.call("PUT", "/v1/pools/minilm/replicas/a", body) == 201

        async def is_recorded() -> bool:
            entries = (await plane.get("/v1/audit"))["entries"]
            return [entry["who"] for entry in entries] == ["control plane", "loopback"]

        await until("the lease has run out", is_recorded)


async def test_who_follows_the_events_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path, [POOL]) as plane, aiohttp.ClientSession() as session:
        async with session.get(f"http://{plane.admin}/v1/events") as events:
            assert b"id: " in await events.content.readline()
            os.kill(plane.pid, signal.SIGTERM)
            async with asyncio.timeout(DEADLINE):
                await events.content.read()
        assert await plane.ended() == 0


async def test_a_line_of_the_token_file_lets_in_who_has_the_token(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(Token.of(TOKEN, Role.READ, "grafana").line)
    (tmp_path / "served").mkdir()
    # Relative to the config file, and not to where the control plane was started.
    admin = {"token_file": "../tokens"}
    async with serving(tmp_path / "served", [POOL], admin=admin) as plane:
        assert await plane.call("GET", "/v1/pools") == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"http://{plane.admin}/v1/pools"
        async with aiohttp.ClientSession(headers=headers) as session:
            assert (await session.get(url)).status == 200
            assert (await session.delete(f"{url}/minilm")).status == 403


async def test_the_token_file_is_followed_and_one_that_is_wrong_is_not(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    first, second = (Token.of(text, Role.READ, text) for text in (TOKEN, OTHER))
    tokens.write_text(f"{first.line}\n")
    async with (
        serving(tmp_path, [POOL], admin={"token_file": "tokens"}) as plane,
        aiohttp.ClientSession() as session,
    ):

        async def asked(token: str, path: str = "/v1/pools") -> tuple[int, str]:
            headers = {"Authorization": f"Bearer {token}"}
            async with session.get(f"http://{plane.admin}{path}", headers=headers) as answer:
                return answer.status, await answer.text()

        async def is_let_in(token: str) -> bool:
            return (await asked(token))[0] == 200

        async def is_broken() -> bool:
            return "plimsoll_token_file_problem 1.0" in (await asked(TOKEN, "/metrics"))[1]

        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with session.get(f"http://{plane.admin}/v1/events", headers=headers) as events:
            assert b"id: " in await events.content.readline()
            tokens.write_text(f"{first.line}\n{second.line}\n")
            await until("the token that was added works", lambda: is_let_in(OTHER))
            assert await is_let_in(TOKEN)
            tokens.write_text("short")
            await until("the file is seen to be wrong", is_broken)
            assert await is_let_in(TOKEN)
            assert await is_let_in(OTHER)
            (tmp_path / "new").write_text(f"{second.line}\n")
            os.replace(tmp_path / "new", tokens)

            async def is_out() -> bool:
                return (await asked(TOKEN))[0] == 401

            await until("the token that was taken out does not work", is_out)
            assert await is_let_in(OTHER)
            assert "plimsoll_token_file_problem 0.0" in (await asked(OTHER, "/metrics"))[1]
            # Whoever follows the events with it is told of none that comes after.
            body = yaml.safe_load((tmp_path / "plimsoll.yaml").read_text())
            added = POOL | {"name": "second", "listener": {"address": "127.0.0.1:10001"}}
            config(tmp_path, body | {"pools": [POOL, added]})
            async with asyncio.timeout(DEADLINE):
                assert b"second" not in await events.content.read()
    log = (tmp_path / "plimsoll.log").read_text()
    assert log.count("the tokens stay as they were") == 1
    assert "must hold one token" in log
