"""``plimsoll top``: live on a real terminal, one table anywhere else."""

import asyncio
import json
import os
import re
import signal
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from controlplane.cli.top import keys_in
from controlplane.cli.top_state import Poller, View
from controlplane.plane import Failure, Probe
from controlplane.telemetry import GpuMemory, Histogram, Reading
from tests.api.parted import parted
from tests.api.served import POOL, Served, served
from tests.cli.answering import run
from tests.cli.terminal import Terminal, resize, terminal_of
from tests.client.clients import client, sent
from tests.forked import Forked
from tests.processes import DEADLINE, command

BOUNDS = (0.01, 0.1, 1.0, float("inf"))


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    """Replica a carries five times as much as b, and c only starts."""
    async with served() as here:
        await here.filled()
        await here.ask("PUT", "/v1/pools/m", json=POOL | {"objective": {"p99": "250ms"}})
        await here.ask("PUT", "/v1/pools/m/replicas/c", json={"address": "127.0.0.1:9003"})
        for id_ in "ab":
            here.plane.probed(here.target(id_), Probe.HEALTHY, here.now)
        for window in range(40):
            here.now += 0.5
            for id_, latency in (("a", 0.02), ("b", 0.1)):
                count = 5.0 * window
                counts = tuple(count * (latency <= bound) for bound in BOUNDS)
                memory = (GpuMemory(f"GPU-{id_}", 4e9, 8e9),)
                reading = Reading(here.now, Histogram(BOUNDS, counts, count * latency))
                reading = replace(reading, memory=memory)
                here.plane.record(here.target(id_), reading, here.now)
            here.decide()
        yield here


class Top:
    """It, on a terminal."""

    def __init__(self, process: Forked, ours: int) -> None:
        self.process, self.ours = process, ours
        self.terminal = Terminal(ours)

    def press(self, key: str) -> None:
        os.write(self.ours, key.encode())

    async def ended(self) -> int:
        code = await self.process.wait()
        # What it wrote last is still to be read.
        await self.terminal.says(r"\x1b\[\?1049l")
        return code


@asynccontextmanager
async def top(api: Served, *options: str, rows: int = 30, columns: int = 160) -> AsyncIterator[Top]:
    ours, theirs = terminal_of(rows, columns)
    arguments = ("top", "--url", f"http://{api.address}", "--interval", "100ms", *options)
    env = {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "", "LINES": ""}
    try:
        async with command(theirs, *arguments, stdin=theirs, env=env) as process:
            try:
                async with asyncio.timeout(DEADLINE):
                    yield Top(process, ours)
            finally:
                asyncio.get_running_loop().remove_reader(ours)
    finally:
        os.close(theirs)
        os.close(ours)


async def test_without_a_terminal_there_is_one_table_with_everything(api: Served) -> None:
    result = await run(api, "top")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("m: capacity-tiers, 2 of 3 ready, 1 starting, 20 req/s, p99 up to ")
    assert lines[0].endswith(" of 250ms")
    rows = {line.split()[0]: line for line in lines[2:]}
    assert rows.keys() == {"a", "b", "c"}
    share = float(re.search(r"([\d.]+) %", rows["a"])[1])  # type: ignore[index]
    assert share > 60
    assert rows["a"].count("█") == round(share / 10)
    assert " 10/s" in rows["a"]
    assert " 50 % " in rows["a"]
    assert re.search(r"\d s ago: ", rows["a"])
    # A pipe gets the whole sentence.
    assert rows["c"].rstrip().endswith("has not been tried yet")


async def test_in_json_it_has_the_same_with_the_names_of_the_api(api: Served) -> None:
    (pool,) = json.loads((await run(api, "top", "--json")).stdout)["pools"]
    assert pool["name"] == "m"
    a = pool["replicas"][0]
    assert (a["id"], a["state"], a["memory"], a["rate_rps"]) == ("a", "ready", 0.5, 10.0)
    assert a["share"] > 0.6
    assert a["p99_ms"] > 0
    assert a["in_flight"] is not None
    assert a["moved_ago_s"] >= 0
    assert "its share rose" in a["why"]
    assert "health check" in pool["replicas"][2]["why"]


async def test_a_pool_whose_requests_are_parted_has_a_line_about_its_classes() -> None:
    async with parted() as api:
        lines = (await run(api, "top")).stdout.splitlines()
        (pool,) = json.loads((await run(api, "top", "--json")).stdout)["pools"]
    words = r"bulk: [\d.]+ % of the work, 2 replicas; search: [\d.]+ % of the work, 1 replica *"
    assert re.fullmatch(words, lines[1])
    rows = {line.split()[0]: line for line in lines[3:]}
    assert " bulk " in rows["fast"]
    assert " bulk " in rows["same"]
    assert [item["name"] for item in pool["parting"]] == ["bulk", "search"]


async def test_only_the_pools_that_are_named_are_shown(api: Served) -> None:
    await api.ask("PUT", "/v1/pools/n", json=POOL | {"listener": {"address": "127.0.0.1:10001"}})
    every = (await run(api, "top", "--once")).stdout
    assert "\nn: capacity-tiers, 0 of 0 ready" in every
    one = await run(api, "top", "m")
    assert "\nn: " not in one.stdout
    unknown = await run(api, "top", "q")
    assert (unknown.exit_code, unknown.stderr) == (1, "plimsoll: there is no pool 'q'\n")


async def test_without_pools_it_says_so() -> None:
    async with served() as empty:
        assert (await run(empty, "top")).stdout == "no pools\n"


@pytest.mark.parametrize(("interval", "said"), [("1", "is not a duration"), ("10ms", "at least")])
async def test_an_interval_that_is_none_is_bad_usage(api: Served, interval: str, said: str) -> None:
    result = await run(api, "top", "--interval", interval)
    assert result.exit_code == 2
    assert result.stderr.startswith("plimsoll: --interval: ")
    assert said in result.stderr


async def test_on_a_terminal_it_follows_what_changes_in_place_until_q(api: Served) -> None:
    async with top(api) as screen:
        before = termios.tcgetattr(screen.ours)
        await screen.terminal.says("1-3 of 3")
        await screen.terminal.says("a .*ready")
        assert not termios.tcgetattr(screen.ours)[3] & termios.ECHO
        await api.ask("POST", "/v1/pools/m/replicas/a/drain")
        await screen.terminal.says(r"draining \(operator\)")
        await screen.terminal.says("ago: ")
        assert screen.process.returncode is None
        screen.press("x")
        screen.press("q")
        assert await screen.ended() == 0
        # Nothing scrolls: it has a screen of its own, draws from its corner, and gives it back.
        assert (
            screen.terminal.text.count("\x1b[?1049h")
            == screen.terminal.text.count("\x1b[?1049l")
            == 1
        )
        assert screen.terminal.text.index("\x1b[?25l") < screen.terminal.text.index("\x1b[?25h")
        assert screen.terminal.text.count("\x1b[H") > 1
        assert termios.tcgetattr(screen.ours) == before


async def test_ctrl_c_ends_it_as_well_and_sigterm_leaves_the_terminal_as_it_was(
    api: Served,
) -> None:
    for number, code in ((signal.SIGINT, 0), (signal.SIGTERM, 143)):
        async with top(api) as screen:
            before = termios.tcgetattr(screen.ours)
            await screen.terminal.says("1-3 of 3")
            screen.process.send_signal(number)
            assert await screen.ended() == code
            assert termios.tcgetattr(screen.ours) == before
            assert "\x1b[?25h" in screen.terminal.text
            assert "Traceback" not in screen.terminal.text


async def test_it_fits_the_terminal_and_follows_its_size(api: Served) -> None:
    async with top(api, "--interval", "1h", columns=150, rows=12) as screen:
        await screen.terminal.says("a .*ready")
        await screen.terminal.says("…")
        assert "capacity " in screen.terminal.plain()
        assert max(map(len, screen.terminal.drawn())) <= 150
        begun = len(screen.terminal.text)
        resize(screen.ours, 12, 80)
        screen.process.send_signal(signal.SIGWINCH)
        await asyncio.sleep(0)
        while (
            "a " not in screen.terminal.text[begun:]
            or "q quits" not in screen.terminal.text[begun:]
        ):
            screen.terminal.changed.clear()
            await screen.terminal.changed.wait()
        screen.press("q")
        assert await screen.ended() == 0
        narrow = screen.terminal.text[begun:]
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", narrow)]
    assert max(map(len, lines)) <= 80
    assert "capacity " not in "\n".join(line for line in lines if "in flight" in line)
    assert any("in flight" in line and "memory" in line and "rate" in line for line in lines)
    assert any(line.startswith("not shown: tier, weight, ") for line in lines)


async def test_when_the_control_plane_goes_away_it_says_so_and_shows_what_it_knows(
    api: Served,
) -> None:
    async with top(api) as screen:
        await screen.terminal.says("a .*ready")
        await api.server.stop(0.1)
        await screen.terminal.says(r"as of \d\d:\d\d:\d\d: ")
        begun = len(screen.terminal.text)
        while "a " not in screen.terminal.text[begun:]:
            screen.terminal.changed.clear()
            await screen.terminal.changed.wait()
        screen.press("q")
        assert await screen.ended() == 0


async def test_when_there_is_no_control_plane_from_the_start_it_ends_with_a_sentence() -> None:
    async with served() as gone:
        pass
    async with top(gone) as screen:
        await screen.terminal.says("plimsoll: no control plane answers at .*\n")
        assert await screen.process.wait() == 1
        assert "\x1b[?1049h" not in screen.terminal.text


async def test_it_asks_for_no_more_than_a_terminal_has_room_for(api: Served) -> None:
    many = {f"r{i:03}": {"address": f"127.0.0.1:{20000 + i}"} for i in range(90)}
    async with client(api) as here:
        await here.put_replicas("m", many)
        calls = sent(here)
        sight = await Poller(here, ()).poll(40)
    assert [len(item.rows) for item in sight] == [31]
    asked = [call.operation.id for call in calls]
    assert asked.count("getHistory") == 24
    assert asked.count("listReplicas") == 1


async def test_why_a_replica_moved_is_asked_again_only_when_it_did(api: Served) -> None:
    async with client(api) as here:
        poller, calls = Poller(here, ()), sent(here)

        async def histories() -> int:
            before = len(calls)
            await poller.poll(40)
            return sum(call.operation.id == "getHistory" for call in calls[before:])

        assert await histories() == 3
        assert await histories() == 0
        await here.drain("m", "b")
        assert await histories() >= 1
        (row,) = [
            row for item in await poller.poll(40) for row in item.rows if row.replica.id == "b"
        ]
    assert row.moved is not None
    assert row.why is not None
    assert "lost its share" in row.why


async def test_a_replica_that_cannot_be_scraped_cannot_steer_the_terminal(api: Served) -> None:
    api.now += 0.5
    api.plane.record(api.target("a"), Failure("it said \x1b[2J"), api.now)
    api.decide()
    shown = (await run(api, "top")).stdout
    assert "began to fail: it said �[2J" in shown
    assert "\x1b" not in shown


async def many(api: Served) -> None:
    replicas = {f"r{i:03}": {"address": f"127.0.0.1:{20000 + i}"} for i in range(90)}
    async with client(api) as here:
        await here.put_replicas("m", replicas)


async def test_it_scrolls_sorts_and_filters_at_a_key(api: Served) -> None:
    await many(api)
    async with top(api, "--interval", "1h", rows=20) as screen:
        await screen.terminal.says(r"1-\d+ of 93")
        screen.press("\x1b[6~")
        await screen.terminal.says("r012 ")
        screen.press("\x1bOF")
        await screen.terminal.says(r"-93 of 93")
        await screen.terminal.says("r089 ")
        screen.press("/89\r")
        await screen.terminal.says(r"1-1 of 1  filter: 89 ")
        screen.press("\x1b")
        await screen.terminal.says(r"(?s)1-1 of 1 .*1-\d+ of 93")
        screen.press(">>>")
        await screen.terminal.says("by share ↓")
        screen.press("q")
        assert await screen.ended() == 0


async def test_a_key_that_is_typed_into_the_filter_ends_nothing(api: Served) -> None:
    async with top(api, "--interval", "1h") as screen:
        await screen.terminal.says("q quits")
        screen.press("/q")
        await screen.terminal.says("filter: q_")
        screen.press("\x7f\r")
        await screen.terminal.says(r"1-3 of 3")
        screen.press("q")
        assert await screen.ended() == 0


@pytest.mark.parametrize(
    ("view", "ids"),
    [
        (View(), ["a", "b", "c"]),
        (View(is_reversed=True), ["c", "b", "a"]),
        (View(sort="share"), ["a", "b", "c"]),
        (View(sort="share", is_reversed=True), ["c", "b", "a"]),
        (View(words="starting"), ["c"]),
        (View(words="M 9002 ready"), ["b"]),
        (View(words="nobody"), []),
        (View(first=2), ["c"]),
    ],
)
async def test_replicas_are_shown_as_it_is_wanted(api: Served, view: View, ids: list[str]) -> None:
    async with client(api) as here:
        poller = Poller(here, ())
        poller.view = view
        # There is room for one replica where it is scrolled.
        sight = await poller.poll(10 if view.first else 40)
        assert [row.replica.id for each in sight for row in each.rows] == ids


async def test_several_pools_are_scrolled_through_as_one_list(api: Served) -> None:
    await api.ask("PUT", "/v1/pools/n", json=POOL | {"listener": {"address": "127.0.0.1:10001"}})
    await api.ask("PUT", "/v1/pools/n/replicas/z", json={"address": "127.0.0.1:9009"})
    async with client(api) as here:
        poller = Poller(here, ())
        poller.view = View(first=10**9)
        sight = await poller.poll(30)
        assert [(each.pool.name, [row.replica.id for row in each.rows]) for each in sight] == [
            ("n", ["z"])
        ]
        assert (poller.view.first, poller.total) == (3, 4)
        poller.view = View(first=2)
        sight = await poller.poll(30)
        assert [[row.replica.id for row in each.rows] for each in sight] == [["c"], ["z"]]


def test_keys_have_names() -> None:
    assert keys_in("a\x1b[A\x1bOB\x1b[6~\x1b\x7f\rü") == [
        *("a", "up", "down", "page down", "escape", "backspace", "enter", "ü")
    ]
