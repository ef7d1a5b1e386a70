"""``plimsoll diagnose`` against a real API: one file, with all that can be had and no secret."""

import asyncio
import json
import socket
import tarfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner, Result

from controlplane.cli import diagnose
from controlplane.cli.group import plimsoll
from controlplane.config import Role, Token
from tests.api.served import POOL, Served, served
from tests.cli.answering import run

KEY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"
PLANTED = {
    "header of the health check": "hc-bearer-7Qx2",
    "header of a class": "class-key-93kd",
    "label": "label-secret-55",
    "URL of a model": "model-pass-1a2b",
    "private key": KEY,
    "token of the API": "operate-token-with-some-length",
    "password in the config file": "db-pass-8812",
    "comment in the config file": "comment-secret",
}
"""By the place where the test puts it."""


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    token = Token.of(PLANTED["token of the API"], Role.OPERATE, "alice")
    async with served(tokens=[token]) as here:
        here.session.headers["Authorization"] = f"Bearer {PLANTED['token of the API']}"
        pool = {
            **POOL,
            "model": f"https://robot:{PLANTED['URL of a model']}@models.example/minilm",
            "health_check": {
                "headers": {"authorization": f"Bearer {PLANTED['header of the health check']}"}
            },
            "classes": [
                {
                    "name": "bulk",
                    "match": {"header": {"name": "x-key", "value": PLANTED["header of a class"]}},
                }
            ],
        }
        assert (await here.ask("PUT", "/v1/pools/m", json=pool)).status == 201
        labels = {"api-key": PLANTED["label"]}
        for id_, port in (("a", 9001), ("b", 9002)):
            body = {"address": f"127.0.0.1:{port}", "labels": labels}
            assert (await here.ask("PUT", f"/v1/pools/m/replicas/{id_}", json=body)).status == 201
        here.decide()
        yield here


def parts(path: Path) -> dict[str, str]:
    """What is in each file of a report, without the folder that all are in."""
    with tarfile.open(path) as archive:
        found = {}
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            found[member.name.partition("/")[2]] = content.read().decode()
        return found


async def diagnosed(
    api: Served, folder: Path, *more: str, token: str | None = PLANTED["token of the API"]
) -> tuple[Result, dict[str, str]]:
    path = folder / "report.tar.gz"
    result = await run(api, "diagnose", "--output", str(path), *more, token=token)
    return result, parts(path)


def config_file(folder: Path) -> Path:
    path = folder / "plimsoll.yaml"
    path.write_text(
        f"# {PLANTED['comment in the config file']}\n"
        "admin: {token_file: tokens}\n"
        f"store: {{path: plimsoll.db, password: {PLANTED['password in the config file']}}}\n"
        "xds:\n  tls:\n    key: |\n      -----BEGIN PRIVATE KEY-----\n"
        f"      {KEY}\n      -----END PRIVATE KEY-----\n"
    )
    return path


async def test_the_report_has_all_parts_and_none_of_the_secrets(
    api: Served, tmp_path: Path
) -> None:
    result, files = await diagnosed(api, tmp_path, "--config", str(config_file(tmp_path)))
    assert result.exit_code == 0
    assert json.loads(files["summary.json"])["missing"] == {}
    assert {*files} == {
        "summary.json",
        "versions.json",
        "control-plane.json",
        "config.json",
        "pools.json",
        "nodes.json",
        "metrics.txt",
        "events.json",
        "audit.json",
        "replicas/m.json",
        "history/m/a.json",
        "history/m/b.json",
    }
    assert "headers" in files["pools.json"]
    assert "x-key" in files["audit.json"]
    assert "model" in files["audit.json"]
    assert json.loads(files["config.json"])["admin"] == {"token_file": "tokens"}
    everything = "\n".join(files.values()) + result.output
    for place, secret in PLANTED.items():
        assert secret not in everything, place


async def test_a_config_file_that_is_not_there_is_named(api: Served, tmp_path: Path) -> None:
    file = tmp_path / "none.yaml"
    result, _ = await diagnosed(api, tmp_path, "--config", str(file))
    why = f"config.json: {file} cannot be read: No such file or directory\n"
    assert f"plimsoll: not gathered: {why}" in result.stderr


async def test_events_since_the_start_are_in_it(api: Served, tmp_path: Path) -> None:
    _, files = await diagnosed(api, tmp_path)
    events = json.loads(files["events.json"])
    told = [(event["event"], event["data"].get("id")) for event in events]
    assert told[0] == ("pool", None)
    assert {("replica", "a"), ("replica", "b")} <= {*told}


async def test_why_each_replica_gets_what_it_gets_is_in_it(api: Served, tmp_path: Path) -> None:
    _, files = await diagnosed(api, tmp_path)
    assert [load["id"] for load in json.loads(files["replicas/m.json"]) if load["why"]] == [
        "a",
        "b",
    ]


async def test_what_a_token_may_not_read_is_said_and_the_rest_is_there(
    api: Served, tmp_path: Path
) -> None:
    reader = "read-token-with-some-length"
    api.server.accept([Token.of(reader, Role.READ, "bob")])
    result, files = await diagnosed(api, tmp_path, token=reader)
    assert result.exit_code == 0
    assert "not gathered: audit.json: " in result.stderr
    assert "audit.json" not in files
    assert "pools.json" in files
    assert [*json.loads(files["summary.json"])["missing"]] == ["audit.json"]


def test_without_a_control_plane_it_says_so_and_has_what_this_machine_knows(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    path = tmp_path / "report.tar.gz"
    arguments = ["diagnose", "--output", str(path), "--envoy", f"127.0.0.1:{port}"]
    url = f"http://me:url-pass-77@127.0.0.1:{port}"
    result = CliRunner(env={"PLIMSOLL_URL": url}).invoke(plimsoll, arguments)
    files = parts(path)
    assert result.exit_code == 0
    assert {*files} == {"summary.json", "versions.json"}
    assert "aiohttp" in json.loads(files["versions.json"])["packages"]
    missing = json.loads(files["summary.json"])["missing"]
    assert "no control plane answers" in missing["pools.json"]
    assert f"envoy/127.0.0.1-{port}/stats.txt" in missing
    assert "url-pass-77" not in result.output + "".join(files.values())


@pytest.mark.parametrize("body", ["{}", "[1]", '{"info": []}', '"a"', "<html>"])
async def test_whatever_answers_in_place_of_a_control_plane_there_is_a_report(
    tmp_path: Path, body: str
) -> None:
    async def answer(_: web.Request) -> web.Response:
        kind = "text/html" if body.startswith("<") else "application/json"
        return web.Response(text=body, content_type=kind)

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    path = tmp_path / "report.tar.gz"
    async with TestServer(app) as server:
        runner = CliRunner(env={"PLIMSOLL_URL": str(server.make_url(""))})
        arguments = ["diagnose", "--output", str(path)]
        result = await asyncio.to_thread(runner.invoke, plimsoll, arguments)
    assert result.exit_code == 0, result.exception
    assert "control-plane.json" in json.loads(parts(path)["summary.json"])["missing"]


@pytest.mark.parametrize(
    ("text", "why"),
    [("a: 'not closed", "is no YAML"), (None, "No such file")],
    ids=["no YAML", "no file"],
)
async def test_a_config_file_that_cannot_be_read_is_one_part_that_is_missing(
    api: Served, tmp_path: Path, text: str | None, why: str
) -> None:
    config = tmp_path / "plimsoll.yaml"
    if text is not None:
        config.write_text(text)
    result, files = await diagnosed(api, tmp_path, "--config", str(config), "--json")
    said: Mapping[str, Any] = json.loads(result.stdout)
    assert why in said["missing"]["config.json"]
    assert "pools.json" in files


async def test_a_file_that_is_there_is_not_overwritten(api: Served, tmp_path: Path) -> None:
    path = tmp_path / "report.tar.gz"
    path.write_text("mine")
    result = await run(api, "diagnose", "--output", str(path))
    assert (result.exit_code, path.read_text()) == (1, "mine")
    assert "--output" in result.stderr


async def test_only_its_owner_can_read_it(api: Served, tmp_path: Path) -> None:
    await diagnosed(api, tmp_path)
    assert (tmp_path / "report.tar.gz").stat().st_mode & 0o777 == 0o600


async def test_it_stays_small(api: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnose, "MAX_HISTORIES", 1)
    monkeypatch.setattr(diagnose, "MAX_BYTES", 12_000)
    _, files = await diagnosed(api, tmp_path)
    missing = json.loads(files["summary.json"])["missing"]
    assert "of 2 replicas 1 were asked for" in missing["history"]
    assert "metrics.txt" in missing
    assert sum(map(len, files.values())) < 14_000


@pytest.mark.parametrize("address", ["nothing", "127.0.0.1:0", "http://127.0.0.1:9901"])
async def test_an_address_that_is_none_is_bad_usage(api: Served, address: str) -> None:
    result = await run(api, "diagnose", "--envoy", address)
    assert result.exit_code == 2
    assert result.stderr.startswith("plimsoll: --envoy: ")
