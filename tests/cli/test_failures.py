"""What goes wrong is one sentence on standard error and an exit code, for every command."""

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator

import pytest
from click.testing import CliRunner

from controlplane.cli.group import plimsoll
from tests.api.served import Served, served
from tests.cli.answering import run
from tests.processes import DEADLINE, command
from tests.processes import run as ran

TOKEN = "s3cret"  # noqa: S105 - of a server that only this test knows

ASKING = [
    ("pools",),
    ("pools", "show", "m"),
    ("pools", "remove", "m", "--yes"),
    ("replicas",),
    ("replicas", "list", "m"),
    ("replicas", "drain", "m", "a"),
    ("nodes",),
    ("explain", "m"),
    ("explain", "m", "--history"),
    ("top",),
    ("top", "--json"),
    ("events",),
    ("openapi",),
]


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with served() as here:
        yield await here.filled()


@pytest.mark.parametrize("arguments", ASKING, ids=" ".join)
def test_without_a_control_plane_each_command_says_how_to_start_one(
    arguments: tuple[str, ...],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    result = CliRunner(env={"PLIMSOLL_URL": url}).invoke(plimsoll, arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"plimsoll: no control plane answers at {url}: start it with `plimsoll serve --config"
        " FILE`, or set --url\n"
    )


@pytest.mark.parametrize(
    "arguments", [item for item in ASKING if item != ("openapi",)], ids=" ".join
)
async def test_a_wrong_token_is_one_sentence(arguments: tuple[str, ...]) -> None:
    async with served(token=TOKEN) as guarded:
        result = await run(guarded, *arguments, token="wrong")  # noqa: S106 - it is wrong
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("; set PLIMSOLL_TOKEN\n")
    assert result.stderr.count("\n") == 1


async def test_options_win_over_the_environment(api: Served) -> None:
    async with served(token=TOKEN) as guarded:
        url = f"http://{guarded.address}"
        result = await run(api, "pools", "--url", url, "--token", TOKEN, token="wrong")  # noqa: S106
        assert (result.exit_code, result.stdout) == (0, "no pools\n")


def test_a_token_that_no_header_can_carry_is_bad_usage() -> None:
    result = CliRunner(env={"PLIMSOLL_TOKEN": "a\nb"}).invoke(plimsoll, ["pools"])
    assert result.exit_code == 2
    assert result.stderr.startswith("plimsoll: --token: ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("explain", "\udcff"), "'\\udcff' cannot be sent: it is not UTF-8"),
        (("replicas", "drain", "m", "\udcff", "--yes"), "'\\udcff' cannot be sent"),
        (("events", "--since", "a\nb"), "'a\\nb' cannot be the header Last-Event-ID"),
    ],
    ids=["a pool", "a replica", "an event"],
)
async def test_what_no_request_can_carry_is_one_sentence(
    api: Served, arguments: tuple[str, ...], sentence: str
) -> None:
    result = await run(api, *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"plimsoll: {sentence}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("pools",), ("replicas", "--json"), ("openapi",), ("events",)]
)
async def test_whoever_reads_may_have_enough_at_any_time(
    api: Served, arguments: tuple[str, ...]
) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with tempfile.TemporaryFile() as errors:
        asked = (*arguments, "--url", f"http://{api.address}")
        async with command(theirs, *asked, stderr=errors.fileno()) as started:
            os.close(theirs)
            async with asyncio.timeout(DEADLINE):
                assert await started.wait() == 1
        errors.seek(0)
        assert errors.read() == b""


async def test_a_full_disk_is_one_sentence() -> None:
    with open("/dev/full", "wb") as full, tempfile.TemporaryFile() as errors:  # noqa: ASYNC230
        asked = ("bootstrap", "--node", "a")
        async with command(full.fileno(), *asked, stderr=errors.fileno()) as started:
            async with asyncio.timeout(DEADLINE):
                assert await started.wait() == 1
        errors.seek(0)
        assert errors.read() == (
            b"plimsoll: the output cannot be written: No space left on device\n"
        )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("check", "--scrape", "127.0.0.1:1", "--seconds", "nan"), "Invalid value for '--seconds'"),
        (("bootsrap",), "No such command 'bootsrap', did you mean bootstrap? `plimsoll --help`"),
        (("pools", "shwo", "m"), "No such command 'shwo', did you mean show? `plimsoll pools --h"),
        (("replicas", "--jsn"), "No such option '--jsn', did you mean --json? `plimsoll replicas"),
        (("serve", "--confg", "x"), "No such option '--confg', did you mean --config? `plimsoll"),
        (("xyzzy",), "No such command 'xyzzy'; `plimsoll --help` says how it is used"),
    ],
)
async def test_a_misspelt_word_names_those_that_are_like_it(
    arguments: tuple[str, ...], sentence: str
) -> None:
    code, _, errors = await ran(*arguments)
    assert code == 2
    assert errors.startswith(f"plimsoll: {sentence}")
    assert errors.count("\n") == 1
