"""``plimsoll explain --request`` against a real API: which replica a request got, and why then."""

import json
from datetime import UTC, datetime

import pytest

from tests.api.parted import parted
from tests.api.served import Served
from tests.cli.answering import run


def line(at: float, **more: object) -> str:
    """A line of the access log about a request at a time of the test's clock."""
    return json.dumps(
        {
            "time": datetime.fromtimestamp(at, UTC).isoformat(),
            "status": 200,
            "flags": "-",
            "details": "via_upstream",
            "attempts": 1,
            "cluster": "m:bulk",
            "replica": "fast",
            "upstream": "127.0.0.1:9001",
            "duration_ms": 41,
            "bytes_received": 40_000,
            **more,
        }
    )


async def said(api: Served, *arguments: str, typed: str = "") -> list[str]:
    result = await run(api, "explain", "--request", *arguments, typed=typed)
    assert result.exit_code == 0, result.stderr
    return result.stdout.splitlines()


async def test_class_replica_and_the_weights_of_that_moment_are_said() -> None:
    async with parted() as api:
        history = (await api.ask("GET", "/v1/pools/m/replicas/fast/history")).body["entries"]
        now = await said(api, typed=line(api.now))
        early = await said(api, typed=line(api.now - history[1]["age_s"]))
        as_json = await run(api, "explain", "--request", "--json", typed=line(api.now))
    assert now[0].startswith("m: 200, from replica fast at 127.0.0.1:9001, after 41 ms, at ")
    assert now[1].startswith("  Class bulk: requests from ")
    assert now[1].endswith("; this one has 40000 bytes.")
    last = history[-1]
    assert f"with weight {last['weight']} in {last['tier']}, " in now[2]
    assert f" with weight {history[1]['weight']} in " in early[2]
    assert "  It served class bulk first." in now
    assert [item for item in last["why"] if f"  {item}" in now] == last["why"]
    document = json.loads(as_json.stdout)
    assert document["in_force"] == last
    assert (document["pool"], document["class"], document["replica"]) == ("m", "bulk", "fast")


async def test_a_replica_of_another_class_is_said_to_be_one() -> None:
    async with parted() as api:
        lines = await said(api, typed=line(api.now, replica="slow", cluster="m:bulk/retries"))
    assert any(
        "served class search first: requests of class bulk come to it" in item for item in lines
    )
    assert "  This was a retry: another replica had not answered the request." in lines


async def test_without_its_id_a_replica_is_found_by_its_address() -> None:
    async with parted() as api:
        address = (await api.ask("GET", "/v1/pools/m/replicas/same")).body["address"]
        lines = await said(api, typed=line(api.now, replica=None, upstream=address))
        nobody = await said(api, typed=line(api.now, replica=None, upstream="10.9.9.9:1"))
        gone = await said(api, typed=line(api.now, replica="gone"))
    assert f"from replica same at {address}" in lines[0]
    assert "  No replica of the pool has the address 10.9.9.9:1 any more." in nobody
    assert "  The pool has no replica gone any more." in gone


async def test_a_request_from_before_the_record_is_not_explained_by_what_came_later() -> None:
    async with parted() as api:
        lines = await said(api, typed=line(api.now - 7_200))
    assert any("got then is unknown" in each for each in lines)
    assert not any("Weights then" in item for item in lines)


async def test_headers_can_be_given_as_options() -> None:
    async with parted() as api:
        header = (
            f"x-plimsoll: time=- cluster=m replica=slow upstream=- attempts=0 flags=UH {'x' * 9}"
        )
        lines = await said(api, "-H", "server: envoy", "-H", header)
    assert lines[0] == "m: status unknown, from replica slow"
    assert lines[1] == "  Class search: all requests of no other class."
    assert "  UH: there is no healthy replica." in lines


@pytest.mark.parametrize(
    ("arguments", "typed", "code", "words"),
    [
        (["explain"], "", 2, "POOL is missing"),
        (["explain", "-H", "x: y", "m"], "", 2, "--header goes with --request"),
        (["explain", "--request", "--history", "m"], "", 2, "--request excludes"),
        (["explain", "--request"], "nothing", 2, "--request: there is no header x-plimsoll"),
        (["explain", "--request"], '{"flags": "NR", "cluster": null}', 2, "no pool yet"),
        (["explain", "--request"], '{"flags": "-", "cluster": "other"}', 1, "no pool 'other'"),
    ],
)
async def test_what_is_wrong_is_one_sentence(
    arguments: list[str], typed: str, code: int, words: str
) -> None:
    async with parted() as api:
        result = await run(api, *arguments, typed=typed)
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
    assert result.stderr.count("\n") == 1


async def test_without_a_control_plane_the_line_is_explained_as_far_as_it_goes() -> None:
    async with parted() as api:
        await api.server.stop(0)
        text = line(api.now, status=429, attempts=2)
        result = await run(api, "explain", "--request", typed=text)
        as_json = await run(api, "explain", "--request", "--json", typed=text)
    assert (result.exit_code, as_json.exit_code, as_json.stdout) == (1, 1, "")
    assert "Envoy tried 2 times" in result.stdout
    assert "via_upstream: the answer is the replica's own." in result.stdout
    assert "plimsoll serve" in result.stderr


async def test_what_stands_in_a_line_cannot_steer_the_terminal() -> None:
    async with parted() as api:
        result = await run(api, "explain", "--request", typed=line(api.now, details="\x1b[2J"))
    assert "\x1b" not in result.output
