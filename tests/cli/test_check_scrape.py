"""``plimsoll check --scrape`` against a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import chain, repeat

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from controlplane.cli.check_scrape import parse_target
from controlplane.cli.group import plimsoll
from tests.telemetry.test_layers import triton
from tests.telemetry.test_servers import exposed
from tests.telemetry.texts import tei


@asynccontextmanager
async def serving(*texts: str, path: str = "/metrics", status: int = 200) -> AsyncIterator[str]:
    """A server whose answers are these, the last one again and again; its HOST:PORT."""
    answers: Iterator[str] = chain(texts, repeat(texts[-1]))

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=next(answers), status=status)

    app = web.Application()
    app.router.add_get(path, answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def check(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, plimsoll, ["check", *arguments])


LATER = (
    exposed("triton")
    .replace("} 1000\n", "} 1100\n")
    .replace("} 20000000\n", "} 23000000\n")
)  # fmt: skip


async def test_what_a_live_server_yields_is_told_in_units() -> None:
    async with serving(exposed("triton"), LATER) as address:
        result = await check("--scrape", address, "--seconds", "0.1")
    assert result.exit_code == 0
    assert result.stdout.startswith("profile triton fits\n  rate: ")
    for line in (
        "mean latency: 30 ms",
        "p99: unknown: the server exposes no distribution, so the mean is used",
        "queue: 7.00 requests",
        "GPU memory: 50 % of 24.0 GiB in use on GPU-4b0b1c4e-1a7b-9c7d-0d2f-7e3f8e0c2f11",
    ):
        assert f"  {line}\n" in result.stdout


async def test_a_p99_in_the_first_bucket_is_told_to_be_coarse() -> None:
    more = exposed("vllm").replace("998.0", "1998.0").replace("1000.0", "2000.0")
    more = more.replace("} 42.0", "} 62.0")
    async with serving(exposed("vllm"), more) as address:
        result = await check("--scrape", address, "--seconds", "0.1")
    assert "  p99: about 297 ms, in the first bucket: the mean is used instead\n" in result.stdout
    assert "  mean latency: 20 ms\n" in result.stdout


async def test_it_answers_in_json() -> None:
    async with serving(exposed("triton"), LATER, path="/v1/metrics") as address:
        url = f"http://{address}/v1/metrics"
        result = await check("--scrape", url, "--seconds", "0.1", "--json")
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["ok"], answer["profile"]) == (0, True, "triton")
    assert answer["scrape"] == f"{address}/v1/metrics"
    assert answer["yields"]["latency_mean_ms"] == pytest.approx(30)
    assert answer["yields"]["memory"][0]["fraction"] == 0.5


async def test_read_once_it_says_that_a_rate_takes_two() -> None:
    async with serving(exposed("tei")) as address:
        result = await check("--scrape", address, "--seconds", "0")
    assert result.exit_code == 0
    assert "one scrape says nothing of the rate" in result.stdout


async def test_an_idle_server_is_said_to_be_idle() -> None:
    async with serving(exposed("tei")) as address:
        result = await check("--scrape", address, "--seconds", "0.1")
    assert "no request in " in result.stdout


async def test_where_nothing_fits_it_says_what_is_lacking_and_ends_with_1() -> None:
    async with serving("vllm:num_requests_waiting 0\n") as address:
        result = await check("--scrape", address, "--seconds", "0")
    assert result.exit_code == 1
    assert result.stdout.startswith("no profile fits; ")
    assert "profile vllm nearly fits\n" in result.stdout
    assert "  lacks latency: no vllm:e2e_request_latency_seconds\n" in result.stdout


async def test_an_endpoint_that_cannot_be_read_says_why_and_ends_with_1() -> None:
    async with serving("no", status=404) as address:
        result = await check("--scrape", address)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == f"plimsoll: GET /metrics on {address} answers 404, not 200\n"
        told = await check("--scrape", address, "--json")
    assert told.exit_code == 1
    assert "answers 404" in json.loads(told.stdout)["error"]


async def test_a_server_without_a_request_so_far_is_recognised_by_what_it_declares() -> None:
    declared = "".join(
        f"{line}\n"
        for line in exposed("vllm").splitlines()
        if line.startswith(("#", "vllm:num_requests"))
    )
    async with serving(declared) as address:
        result = await check("--scrape", address, "--seconds", "0")
        told = json.loads((await check("--scrape", address, "--seconds", "0", "--json")).stdout)
    assert result.exit_code == 0
    assert result.stdout.startswith(
        "profile vllm, idle: vllm:e2e_request_latency_seconds is declared and has counted nothing"
        " yet; send it a request and check again\n"
    )
    assert (told["ok"], told["idle"], told["profile"]) == (True, True, "vllm")


@pytest.mark.parametrize(
    ("text", "profile", "gauge"),
    [
        (
            'ray_serve_replica_processing_queries{deployment="E"} 0\n',
            "ray-serve",
            "ray_serve_replica_processing_queries",
        ),
        ('sglang:num_queue_reqs{model_name="m"} 0\n', "sglang", "sglang:num_queue_reqs"),
        ('ray_vllm_num_requests_waiting{model_name="m"} 0\n', "ray-llm", "ray_vllm:num_requests"),
    ],
)
async def test_a_server_that_declares_nothing_before_a_request_is_recognised_by_its_gauges(
    text: str, profile: str, gauge: str
) -> None:
    async with serving(text) as address:
        result = await check("--scrape", address, "--seconds", "0")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"profile {profile}, idle: {gauge}")
    assert "is there, and no duration of a request so far; send it a request" in result.stdout


async def test_families_that_are_there_and_cannot_be_read_name_their_profile() -> None:
    text = 'bentoml_api_server_request_duration_seconds_bucket{endpoint="/e",le="0.1"} 5.0\n'
    async with serving(text) as address:
        result = await check("--scrape", address, "--seconds", "0")
    assert result.exit_code == 1
    assert result.stdout.startswith(
        "the families of profile bentoml are there, and cannot be read: "
    )


async def test_what_no_profile_can_read_is_said_once() -> None:
    async with serving("te_request_duration_count 3\nte_request\n") as address:
        result = await check("--scrape", address, "--seconds", "0")
    assert result.exit_code == 1
    assert result.stdout.count("is no metric sample") == 1


async def test_an_exporter_of_gpu_memory_is_recognised_and_where_it_goes_is_told() -> None:
    async with serving(exposed("dcgm")) as address:
        result = await check("--scrape", address, "--seconds", "0")
        told = json.loads((await check("--scrape", address, "--seconds", "0", "--json")).stdout)
    assert result.exit_code == 0
    assert result.stdout.startswith("profile dcgm of GPU memory fits: choose the profile of the")
    assert "metrics: {gpu: {profile: dcgm, addresses: [...]}}" in result.stdout
    assert "  GPU memory: 74 % of 79.1 GiB in use on GPU-604ac76c" in result.stdout
    assert " by search/minilm-0, search/minilm-1\n" in result.stdout
    assert (told["ok"], told["profile"], told["exporter"]) == (True, None, "dcgm")


async def test_an_empty_answer_is_a_server_that_has_counted_nothing_and_no_other_server() -> None:
    async with serving("") as address:
        result = await check("--scrape", address, "--seconds", "0.1")
        told = json.loads((await check("--scrape", address, "--seconds", "0", "--json")).stdout)
    assert result.exit_code == 1
    assert result.stdout.startswith("the answer is empty: the server is up and has counted nothing")
    assert (told["ok"], told["idle"]) == (False, True)


async def test_a_server_without_durations_fits_and_the_tokens_are_told() -> None:
    later = exposed("llama-cpp").replace("51200", "61200")
    async with serving(exposed("llama-cpp"), later) as address:
        result = await check("--scrape", address, "--seconds", "0.1")
    assert result.exit_code == 0
    assert result.stdout.startswith("profile llama-cpp fits\n  tokens: ")
    assert "  note: llama-cpp exposes no durations: load reports of Envoys measure them\n" in (
        result.stdout
    )


async def test_what_was_counted_is_told_and_how_to_narrow_it() -> None:
    first = triton({"rag": (1000, 32.0, 0), "tokenize": (1000, 3.0, 0)})
    later = triton({"rag": (1200, 38.0, 0), "tokenize": (1200, 3.6, 0)})
    async with serving(first, later) as address:
        result = await check("--scrape", address, "--seconds", "0.1")
    assert "  mean latency: 30 ms\n" in result.stdout
    assert "  note: of 2 values of model, rag is counted and tokenize is not" in result.stdout
    assert " (metrics: {labels: {model: NAME}} counts one alone)\n" in result.stdout


async def test_several_processes_behind_one_port_are_told() -> None:
    def of(count: int, started: float) -> str:
        return tei(count, more=[f"process_start_time_seconds {started}"])

    turns = [of(1000, 10.0), of(40, 20.0), of(1010, 10.0), of(50, 20.0), of(1020, 10.0)]
    async with serving(*turns, of(60, 20.0)) as address:
        result = await check("--scrape", address, "--seconds", "0.1")
    assert "  note: 2 processes answer at this address" in result.stdout


async def test_a_server_that_reports_nonsense_is_told_apart_from_an_idle_one() -> None:
    wrong = exposed("vllm").replace("vllm:prompt_tokens_total{", 'vllm:prompt_tokens_total{x="",')
    wrong = "".join(
        f"{line.rpartition(' ')[0]} -5\n"
        if line.startswith("vllm:prompt_tokens_total{")
        else f"{line}\n"
        for line in wrong.splitlines()
    )
    async with serving(wrong) as address:
        result = await check("--scrape", address, "--seconds", "0.1")
    assert result.exit_code == 0
    assert "  note: what it says of its batches cannot be true: " in result.stdout
    assert "vllm:prompt_tokens_total is negative" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["plimsoll.yaml", "--scrape", "127.0.0.1:1"],
        ["--scrape", "ftp://127.0.0.1:1/metrics"],
        ["--scrape", "127.0.0.1:1", "--ca-file", "ca.pem"],
        ["--scrape", "127.0.0.1:1", "--user", "me"],
        ["plimsoll.yaml", "--bearer-file", "token"],
        ["--scrape", "127.0.0.1:99999"],
        ["--scrape", "http://[::1/metrics"],
        ["--scrape", "127.0.0.1:1/a b"],
        ["--scrape", "127.0.0.1:1", "--seconds", "-1"],
        ["--scrape", "http://user:secret@127.0.0.1:1/"],
    ],
)
async def test_bad_usage_ends_with_2(arguments: list[str]) -> None:
    result = await check(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("text", "address", "path"),
    [
        ("localhost:8080", "localhost:8080", "/metrics"),
        ("10.0.0.1:8002/v1/metrics", "10.0.0.1:8002", "/v1/metrics"),
        ("http://10.0.0.1/metrics?x=1", "10.0.0.1:80", "/metrics?x=1"),
        ("http://[::1]:9400", "[::1]:9400", "/metrics"),
        ("http://[::1]/m", "[::1]:80", "/m"),
    ],
)
def test_where_to_scrape_may_be_an_address_or_a_url(text: str, address: str, path: str) -> None:
    found, asked, scheme = parse_target(text)
    assert (str(found), asked, scheme) == (address, path, "http")
