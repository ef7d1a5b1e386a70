"""The documents are true to the code: their links, their command lines and their config blocks."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from controlplane.cli.group import plimsoll
from controlplane.config import PoolEntry, load_config, validated

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("envoy/*.md"),
        *ROOT.glob("examples/**/*.md"),
    ]
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LINK = re.compile(r"\]\(([^()\s]+)\)")
BLOCK = re.compile(r"(?ms)^ *```(\w*)\n(.*?)^ *```$")
"""Those of a list are indented."""


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text())


def blocks(page: Path, *kinds: str) -> Iterator[str]:
    for kind, content in BLOCK.findall(page.read_text()):
        if kind in kinds:
            yield textwrap.dedent(content)


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    heads = re.findall(r"(?m)^#+ +(.*)$", prose(page))
    words = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head) for head in heads)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in words}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    for target in LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield ((page.parent / file).resolve() if file else page), anchor


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    for file, anchor in links(ROOT / name):
        assert file.exists(), file
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), (file, anchor)


def test_every_page_is_reached_from_the_readme() -> None:
    reached, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page not in reached:
            reached.add(page)
            todo += [file for file, _ in links(page) if file.suffix == ".md"]
    assert {*PAGES} <= reached


@pytest.mark.parametrize("name", NAMES)
def test_every_command_line_of_a_block_is_one_that_the_command_takes(name: str) -> None:
    for block in blocks(ROOT / name, "sh", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:1] == ["make"]:
                targets = [word for word in words[1:] if "=" not in word]
                makefile = (ROOT / "Makefile").read_text()
                assert all(re.search(rf"(?m)^{target}:", makefile) for target in targets), line
            elif words[:1] == ["plimsoll"]:
                end = next((i for i, word in enumerate(words) if word in (">", "|", "&&")), None)
                parse(words[1:end])


def parse(words: list[str]) -> None:
    """Parse a command line without running it; fails where the command would not take it."""
    group: click.Command = plimsoll
    context = None
    while isinstance(group, click.Group):
        context = group.make_context("plimsoll", list(words), parent=context)
        _, found, words = group.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        group = found
    group.make_context("plimsoll", list(words), parent=context)


def test_a_wrong_command_line_would_be_seen() -> None:
    for words in (["pools", "shwo"], ["replicas", "list", "--nothing"], ["serve"], ["nothing"]):
        with pytest.raises(click.UsageError):
            parse(words)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_that_prose_names_has_these_options(name: str) -> None:
    for line in re.findall(r"`plimsoll ([^`]*)`", prose(ROOT / name)):
        words = line.split()
        if not words or not words[0].islower():
            continue
        command = plimsoll.get_command(click.Context(plimsoll), words[0])
        assert command is not None, line
        named = [command]
        if isinstance(command, click.Group) and words[1:]:
            context = click.Context(command)
            parts = re.split(r"\\?\|", words[1])
            found = [command.get_command(context, part) for part in parts]
            named = [each for each in found if each is not None]
            assert len(named) == len(parts), line
        known = {option for each in named for parameter in each.params for option in parameter.opts}
        options = re.findall(r"(?<![\w-])--[a-z][a-z-]*", line)
        assert {*options} <= known | {"--help"}, line


OF_OTHERS = {"scrape_configs", "externalRules", "apiVersion", "triggers", "configSources"}
"""Keys of the files of Prometheus, Kubernetes and Istio."""


@pytest.mark.parametrize("name", NAMES)
def test_every_config_block_is_one_that_is_taken(name: str) -> None:
    for block in blocks(ROOT / name, "yaml"):
        document = yaml.safe_load(block)
        keys = document.keys()
        if keys <= PoolEntry.model_fields.keys():
            pool = {"name": "p", "model": "m", "listener": {"address": "127.0.0.1:1"}}
            validated(PoolEntry, pool | document)
        elif not keys & OF_OTHERS:
            load_config(block, name)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_installed_outside_of_a_virtual_environment(name: str) -> None:
    """Debian's Python refuses that."""
    for block in blocks(ROOT / name, "sh", "console"):
        for command in re.split(r"\n|&&|\|\||;", block):
            assert not re.match(r"(\$ )?(sudo )?(python3? -m )?pip3? install", command.strip()), (
                command
            )


def test_every_test_that_holds_a_promise_is_there() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    named = re.findall(r"`([a-z_/]+\.py)(?:::(\w+))?`", page)
    assert named
    for file, test in named:
        text = (ROOT / "tests" / file).read_text()
        assert not test or f"def {test}(" in text, f"{file}::{test}"
