"""The page of the flows is true: each function exists, and is called by the row that it names."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"
ROW = re.compile(r"^\| (\d+) \| `([\w.]+):([\w.]+)` \| (.*?) ?\| (.+) \|$", re.MULTILINE)
MOST_HOPS = 10


class Hop(NamedTuple):
    """A row of a table."""

    number: int
    module: str
    name: str
    source: str


def flows() -> Iterator[tuple[str, list[Hop]]]:
    for section in PAGE.read_text().split("\n## ")[1:]:
        rows = [
            Hop(int(number), module, name, source)
            for number, module, name, source, _ in ROW.findall(section)
        ]
        yield section.partition("\n")[0], rows


FLOWS = dict(flows())


@cache
def tree(module: str) -> ast.Module:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return ast.parse(path.read_text())


@cache
def names_in(module: str, name: str) -> frozenset[str]:
    """The names that a function's code mentions; an error where there is no such function."""
    node: ast.AST = tree(module)
    for part in name.split("."):
        node = next(
            item
            for item in ast.walk(node)
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and item.name == part
        )
    found = set[str]()
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            found.add(each.id)
        elif isinstance(each, ast.Attribute):
            found.add(each.attr)
        elif isinstance(each, ast.keyword) and each.arg:
            found.add(each.arg)
    return frozenset(found)


def mentions(hop: Hop, name: str) -> bool:
    return any(item.strip("_") == name.strip("_") for item in names_in(hop.module, hop.name))


def test_there_are_four_flows_of_at_most_ten_hops() -> None:
    assert len(FLOWS) == 4
    for hops in FLOWS.values():
        assert [hop.number for hop in hops] == [*range(1, len(hops) + 1)]
        assert 1 < len(hops) <= MOST_HOPS


@pytest.mark.parametrize("flow", FLOWS)
def test_each_function_is_there_and_called_from_where_the_page_says(flow: str) -> None:
    hops = {hop.number: hop for hop in FLOWS[flow]}
    for hop in hops.values():
        assert names_in(hop.module, hop.name)
        match re.fullmatch(r"(?:`(\w+)` of )?(\d+)", hop.source):
            case None:
                assert hop.number == 1, hop
            case found if found[1] is None:
                assert mentions(hops[int(found[2])], hop.name.rpartition(".")[2]), hop
            case found if found[1] == "carry_out":
                # What the API calls is given to it where all is put together.
                assert mentions(hops[int(found[2])], found[1]), hop
                assert "carry_out=registry.apply" in (ROOT / "controlplane/app.py").read_text()
            case found:
                assert mentions(hops[int(found[2])], found[1]), hop
                assert mentions(hop, found[1]), hop
