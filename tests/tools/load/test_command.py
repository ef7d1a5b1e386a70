"""``plimsoll load``: what it refuses before it sends, what it prints, and how it ends."""

import asyncio
import json
import os
import re
import signal
import ssl
import sys
import tempfile
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from click.testing import CliRunner, Result

from controlplane.cli.group import plimsoll
from controlplane.tools.load import command as plot
from tests.api.served import POOL, served
from tests.cli.answering import run as run_beside
from tests.processes import DEADLINE, command, free_port, run, until
from tests.tools.load.servers import Counting, server

URL = "http://127.0.0.1:9/v1/embeddings"
MODEL = ("--model", "m")


def refused(*arguments: str) -> Result:
    """Run what is to be refused before anything is sent."""
    return CliRunner().invoke(plimsoll, ["load", *arguments])


async def load(*arguments: str | Path, **environment: str) -> tuple[int, str, str]:
    """Run it as a process; returns the exit code and what it wrote."""
    return await run("load", *arguments, env={"COLUMNS": ""} | environment)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([URL, *MODEL, "--rate", "fast"], "--rate: 'fast' is not a number of requests per second"),
        ([URL, *MODEL, "--rate", "0"], "--rate: '0' is not a number of requests per second"),
        ([URL, *MODEL, "--rate", "nan"], "--rate: 'nan' is not a number of requests per second"),
        ([URL, *MODEL, "--rate", "10:"], "--rate: '10:' is not a number of requests per second"),
        ([URL, *MODEL, "--rate", "20:10"], "--rate: '20:10' does not rise: write the lower rate"),
        ([URL, *MODEL, "--steps", "4"], "--steps: one rate is one step; a staircase is"),
        ([URL, *MODEL, "--duration", "9"], "--duration: '9' is not a duration: write a number"),
        ([URL, *MODEL, "--duration", "0s"], "--duration: 0s is out of range: 1ms to 24h"),
        ([URL, *MODEL, "--warmup", "25h"], "--warmup: 25h is out of range: 0s to 24h"),
        (
            [URL, *MODEL, "--tokens", "big"],
            "--tokens: 'big' is not a size: write a number of tokens",
        ),
        ([URL, *MODEL, "--texts", "/none"], "--texts: /none cannot be read: No such file"),
        (
            [URL, *MODEL, "--texts", "/dev/zero"],
            "--texts: /dev/zero cannot be read: it is a device",
        ),
        ([URL, *MODEL, "--objective", "1"], "--objective: '1' is not a duration"),
        ([URL], "--model: OpenAI's API wants a model: name it"),
        (["https://a/embed"], "TARGET: 'https://a/embed': only http is spoken here"),
        (["a/embed"], "TARGET: 'a/embed' is not a URL such as"),
        ([URL, *MODEL, "--envoy-admin", "a"], "--envoy-admin: 'a' is not a URL such as"),
        (
            [URL, *MODEL, "--envoy-admin", "http://127.0.0.1:9901"],
            "--pool: with --envoy-admin, name the pool: it is the name of Envoy's cluster",
        ),
        ([URL, *MODEL, "--admin", "a"], "--admin: 'a' is not an address such as"),
        ([URL, *MODEL, "--png", "/none/a.png"], "--png: /none/a.png cannot be written: give a"),
        ([URL, "--body-file", "/none"], "--body-file: /none cannot be read: No such file"),
    ],
)
def test_a_wrong_option_is_one_line_with_what_would_be_right(
    arguments: list[str], said: str
) -> None:
    result = refused(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"plimsoll: {said}")
    assert result.stderr.count("\n") == 1


def test_a_file_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    empty, template = tmp_path / "empty.txt", tmp_path / "body.json"
    empty.write_text("\n")
    template.write_text('{"input": "text"}')
    assert f"--texts: {empty} has no text: write one on each line" in (
        refused(URL, *MODEL, "--texts", str(empty)).stderr
    )
    assert f"--body-file: {template} has no place for a text" in (
        refused(URL, "--body-file", str(template)).stderr
    )


@pytest.mark.parametrize(
    "pair",
    [
        ("--texts", __file__, "--tokens", "5"),
        ("--body-file", __file__, "--format", "tei"),
    ],
)
def test_of_two_options_that_exclude_each_other_one_is_to_be_left_out(
    pair: tuple[str, ...],
) -> None:
    result = refused(URL, *MODEL, *pair)
    assert result.exit_code == 2
    assert "leave one of both out" in result.stderr


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "is_installed", lambda: False)
    result = refused(URL, *MODEL, "--png", "a.png")
    assert result.exit_code == 2
    assert result.stderr == (
        "plimsoll: --png: matplotlib is not installed: pip install 'plimsoll[plot]'\n"
    )


async def test_without_a_control_plane_at_admin_it_names_that_option() -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    result = await asyncio.to_thread(refused, URL, "--admin", nobody)
    assert result.exit_code == 1
    assert result.stderr.endswith("or set --admin\n")


async def test_a_pool_that_is_not_there_is_answered_with_those_that_are() -> None:
    async with served() as api:
        await api.filled()
        result = await run_beside(
            api, "load", URL, "--admin", f"http://{api.address}", "--pool", "q"
        )
    assert result.exit_code == 2
    assert result.stderr == "plimsoll: --pool: the control plane has no pool 'q', but: m\n"


async def test_what_was_measured_is_a_table_and_sentences(tmp_path: Path) -> None:
    async with server(Counting()) as url:
        code, out, errors = await load(
            *(url, f"2@{url}", *MODEL, "--rate", "50:100", "--steps", "2", "--duration", "500ms"),
            *("--warmup", "0s", "--objective", "30s", "--png", tmp_path / "load.png"),
        )
    assert (code, errors) == (0, "")
    header = next(line.split() for line in out.splitlines() if "p99.9" in line)
    assert header[:6] == ["rate", "requests", "achieved", "tokens", "failed", "p50"]
    assert "upstream" not in out
    assert [line.split()[0] for line in out.splitlines() if "/s " in line][:2] == ["50/s", "100/s"]
    assert "the fleet carries at least 100 requests/s (" in out
    assert " tokens/s) with p99 within 30 s: try more" in out
    assert "class " not in out
    assert out.count(url) == 2
    assert (tmp_path / "load.png").stat().st_size > 1000


async def test_json_is_all_there_is_on_standard_output() -> None:
    async with server(Counting()) as url:
        code, out, errors = await load(
            *(url, *MODEL, "--rate", "50", "--duration", "1s", "--warmup", "0s"),
            *("--objective", "250ms", "--json"),
        )
    assert (code, errors) == (0, "")
    answer = json.loads(out)
    assert answer["open_loop"] is True
    assert answer["objective_ms"] == 250
    assert answer["capacity"]["known"] in ("at least", "below")
    (step,) = answer["steps"]
    assert step["requests"] == step["targets"][0]["requests"] > 20
    assert step["latency_ms"].keys() == {"p50", "p90", "p99", "p99.9", "max", "mean"}
    assert step["latency_ms"]["p50"] >= step["service_ms"]["p50"] > 0
    assert step["errors"] == {}


async def test_texts_and_a_template_reach_the_server(tmp_path: Path) -> None:
    texts, template = tmp_path / "texts.txt", tmp_path / "body.json"
    texts.write_text('a "quoted" text\n')
    template.write_text('{"queries": ["{{text}}"], "of": "{{model}}"}')
    handler = Counting()
    async with server(handler) as url:
        await load(
            *(url, *MODEL, "--texts", texts, "--body-file", template),
            *("--rate", "50", "--duration", "300ms", "--warmup", "0s"),
        )
    assert handler.bodies
    assert all(body == {"queries": ['a "quoted" text'], "of": "m"} for body in handler.bodies)


async def test_texts_of_several_sizes_are_reported_by_class(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(["a search of some words"] * 3 + ["word " * 1000]))
    options = ("--texts", texts, "--rate", "100", "--duration", "1s", "--warmup", "0s")
    async with server(Counting()) as url:
        _, out, _ = await load(url, *MODEL, *options)
        _, plain, _ = await load(url, *MODEL, *options, "--json")
        _, narrow, _ = await load(url, *MODEL, *options, COLUMNS="80")
    cells = r"(rate|class|100/s|bulk|default)  "
    tables = [line for line in narrow.splitlines() if re.match(cells, line)]
    assert len(tables) == 5
    assert max(map(len, tables)) <= 80
    (line,) = (line for line in out.splitlines() if line.startswith("class bulk: "))
    assert re.fullmatch(r"class bulk: requests from \d+ bytes on, 9\d% of the work", line)
    assert "class default: all others, " in out
    (step,) = json.loads(plain)["steps"]
    bulk, default = step["classes"]
    assert (bulk["name"], default["name"]) == ("bulk", "default")
    assert bulk["requests"] + default["requests"] == step["requests"]
    # Not their tokens a second: what ends after the step is theirs, and not the step's.
    assert bulk["part_of_work"] + default["part_of_work"] == pytest.approx(1, rel=0.01)
    # The control plane counts a token for every four bytes of text where nobody counts.
    each = bulk["tokens_per_s"] / bulk["rate_rps"]
    assert each == pytest.approx(5000 / 4, rel=0.01)


async def test_a_target_ending_in_embed_gets_what_tei_takes() -> None:
    handler = Counting()
    async with server(handler) as url:
        await load(url.replace("/v1/embeddings", "/embed"), "--duration", "500ms")
    assert {*handler.bodies[0]} == {"inputs"}


async def test_model_objective_and_classes_are_taken_from_the_pool(tmp_path: Path) -> None:
    job = {"name": "job", "match": {"prefix": "/v1/embeddings", "min_bytes": 10}}
    settings = {**POOL, "model": "its-model", "objective": {"p99": "250ms"}, "classes": [job]}
    async with served() as real:
        await real.ask("PUT", "/v1/pools/p", json=settings)
        pools = (await real.ask("GET", "/v1/pools")).body
        settings = {"address": "127.0.0.1:9001"}
        known = (await real.ask("PUT", "/v1/pools/p/replicas/a", json=settings)).body

    async def api(request: web.Request) -> web.Response:
        if request.path == "/v1/pools":
            return web.json_response(pools)
        readings = {"rate_rps": 10.0, "p99_resolution": "ok", "memory": []}
        replica = known | {"capacity": 40.0, "readings": readings, "share": 1.0}
        return web.json_response({"replicas": [replica], "next": None})

    # Roots that only the environment names hold for what is watched, too.
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    handler = Counting()
    async with server(handler) as url, server(api, context) as admin:
        code, out, errors = await load(
            *(url, "--admin", admin.removesuffix("/v1/embeddings"), "--duration", "1s", "--json"),
            PLIMSOLL_CA=str(tmp_path / "ca.pem"),
        )
    assert (code, errors) == (0, "")
    assert handler.bodies[0]["model"] == "its-model"
    answer = json.loads(out)
    assert answer["objective_ms"] == 250
    (of_class,) = answer["steps"][0]["classes"]
    assert of_class["name"] == "job"
    assert of_class["match"]["min_bytes"] == 10
    (replica,) = answer["steps"][0]["replicas"]
    assert (replica["id"], replica["share"], replica["load"]) == ("a", 1.0, 0.25)


async def test_a_shells_limit_of_open_files_does_not_fail_requests() -> None:
    released = asyncio.Event()
    waiting = 0

    async def hold(request: web.Request) -> web.Response:
        nonlocal waiting
        waiting += 1
        if waiting > 150:
            released.set()
        await released.wait()
        return web.Response()

    async with server(hold) as url:
        program = (sys.executable, "-m", "controlplane", "load", url, *MODEL, "--json")
        options = ("--rate", "200", "--duration", "2s", "--warmup", "0s")
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", 'ulimit -S -n 100 && exec "$@"', "sh", *program, *options),
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(DEADLINE):
            out, _ = await process.communicate()
    assert json.loads(out)["steps"][0]["errors"] == {}


async def test_a_target_where_nobody_is_is_one_line_and_exit_code_1() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1/embeddings"
    code, out, errors = await load(url, *MODEL, "--rate", "20")
    assert (code, out) == (1, "")
    assert errors == f"plimsoll: {url} cannot be reached: connection refused\n"


async def test_after_ctrl_c_it_prints_what_was_measured_so_far(tmp_path: Path) -> None:
    handler, output = Counting(), tmp_path / "output"
    options = ("--rate", "50", "--duration", "60s", "--warmup", "0s")
    with tempfile.TemporaryFile() as errors:
        async with (
            server(handler) as url,
            command(output, "load", url, *MODEL, *options, stderr=errors.fileno()) as process,
        ):

            async def has_served() -> bool:
                return handler.served > 30

            await until("it is sending", has_served)
            os.kill(process.pid, signal.SIGINT)
            async with asyncio.timeout(DEADLINE):
                assert await process.wait() == 130
        errors.seek(0)
        assert errors.read() == b""
    assert "stopped before its end: this is what was measured so far" in output.read_text()
    assert "50/s" in output.read_text()
