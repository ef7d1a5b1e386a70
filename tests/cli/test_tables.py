"""Tables at any width: what goes first, what is shortened, and that nothing wraps."""

import json
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from controlplane.cli.nodes import print_nodes
from controlplane.cli.pools import print_pools
from controlplane.cli.replicas import print_replicas
from controlplane.cli.tables import Column, layout, print_table, table
from controlplane.client import Node, Pool, Replica
from tests.api.served import Served, served
from tests.cli.answering import run

COLUMNS = (
    Column("id", is_name=True),
    Column("place", rank=2),
    Column("memory", rank=1, is_number=True),
    Column("rate", rank=3, is_number=True),
    Column("why", prose=0.5),
)
WHY = "it became slower than others"
ROWS = [
    {"id": "a", "place": "europe", "memory": "-", "rate": "10/s", "why": WHY},
    {"id": "b", "place": "asia", "memory": "-", "rate": "9/s", "why": "-"},
]


def drawn(rows: list[dict[str, str]], width: int | None) -> list[str]:
    shown = layout(COLUMNS, rows, width)
    out = Console(width=width or 1000, color_system=None)
    with out.capture() as captured:
        out.print(table(shown, rows))
    return captured.get().splitlines() + ([shown.note] if shown.note else [])


def test_where_there_is_room_every_column_is_whole() -> None:
    assert drawn(ROWS, None)[1].split()[:6] == ["a", "europe", "-", "10/s", "it", "became"]


def test_sentences_are_cut_first_at_their_end_to_their_part_of_the_table() -> None:
    lines = drawn(ROWS, 52)
    assert lines[0].split() == ["id", "place", "memory", "rate", "why"]
    assert lines[1].endswith("  it became slower than oth…")


def test_a_column_that_says_nothing_goes_next_and_then_the_least_important_one() -> None:
    assert drawn(ROWS, 40)[-1] == "not shown: memory (use a wider terminal or --json)"
    assert drawn(ROWS, 30)[-1].startswith("not shown: memory, rate (")
    assert drawn(ROWS, 19)[-1].startswith("not shown: place, memory, rate (")


def test_a_long_name_keeps_both_of_its_ends_and_hides_no_column() -> None:
    rows = [dict(ROWS[0], id="embedding-frontend-7d9f8b6c5-x2x4q")]
    lines = drawn(rows, 70)
    assert lines[0].split() == ["id", "place", "memory", "rate", "why"]
    assert lines[1].startswith("embedding…c5-x2x4q  ")
    # Only in the narrowest table it is shorter than that.
    assert drawn(rows, 24)[1].startswith("embed…x2x4q  ")


@pytest.mark.parametrize("width", range(20, 80))
def test_nothing_wraps_at_any_width(width: int) -> None:
    rows = [dict(ROWS[0], id="文字" * 20, place="\x1b[2J" * 9), ROWS[1]]
    lines = drawn(rows, width)
    assert len([line for line in lines if not line.startswith("not shown")]) == 3
    assert max(map(cell_len, lines[:3])) <= width


async def everything(api: Served) -> tuple[list[Any], list[Any]]:
    pools = (await api.ask("GET", "/v1/pools")).body["pools"]
    return pools, (await api.ask("GET", "/v1/pools/m/replicas")).body["replicas"]


async def test_every_list_fits_eighty_columns_with_long_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served() as api:
        await api.filled()
        pools, replicas = await everything(api)
    long = "x" * 63
    pools = [pool | {"name": long, "model": long, "suspect": True} for pool in pools]
    address = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"
    replicas = [each | {"pool": long, "id": long, "address": address} for each in replicas]
    place = {"region": "europe-west1", "zone": "europe-west1-b", "sub_zone": "rack-7"}
    node = {
        "id": long,
        "user_agent": "envoy-contrib",
        "version": "1.40.0",
        "locality": place,
        "connected_s": 50_000.0,
        "types": [],
    }
    monkeypatch.setenv("COLUMNS", "80")
    print_pools([Pool.model_validate(each) for each in pools])
    print_replicas([Replica.model_validate(each) for each in replicas])
    print_nodes([Node.model_validate(node)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= 80


async def test_a_pipe_gets_every_column_unless_columns_is_set() -> None:
    async with served() as api:
        await api.filled()
        whole = (await run(api, "replicas", "list", "m")).stdout
        narrow = (await run(api, "replicas", "list", "m", columns="80")).stdout
        top = (await run(api, "top", columns="80")).stdout
        replicas = json.loads((await run(api, "replicas", "list", "m", "--json")).stdout)
    assert "scraped" in whole.splitlines()[0]
    assert "not shown" not in whole
    assert narrow.splitlines()[-1].startswith("not shown: ")
    assert max(map(len, [*narrow.splitlines(), *top.splitlines()])) <= 80
    assert len(whole.splitlines()) == 1 + len(replicas["replicas"])


def test_a_column_without_a_head_takes_no_room_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    print_table((Column("bar", has_head=False), Column("id")), [{"bar": "", "id": "a"}])
    assert capsys.readouterr().out.splitlines()[0].strip() == "id"
