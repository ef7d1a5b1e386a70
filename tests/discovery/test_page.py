"""docs/discovery.md: its configuration is read, and its source of one's own runs."""

import asyncio
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from controlplane.config import load_config, load_replicas
from controlplane.discovery import Found, SourceError
from controlplane.discovery.docker import _LABELS
from controlplane.discovery.source import id_of, replica

PAGE = (Path(__file__).parents[2] / "docs" / "discovery.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_its_configuration_is_read() -> None:
    config, file = blocks("yaml")
    assert len(load_config(config, "page").pools[0].discovery) == 4
    assert len(load_replicas(file, "page")) == 1


def test_its_labels_are_those_that_are_known() -> None:
    section = PAGE.partition("## Docker")[2].partition("## A folder")[0]
    assert set(re.findall(r"`(plimsoll\.\w+)`", section)) == _LABELS


async def test_its_source_of_ones_own_runs(tmp_path: Path) -> None:
    scope: dict[str, Any] = {
        "asyncio": asyncio,
        "AsyncGenerator": AsyncGenerator,
        "Path": Path,
        "Found": Found,
        "SourceError": SourceError,
        "replica": replica,
        "id_of": id_of,
    }
    exec(blocks("python")[1], scope)  # noqa: S102 - our own page
    with pytest.raises(SourceError, match="cannot be read"):
        await anext(scope["ListSource"](tmp_path / "list").sets())
    (tmp_path / "list").write_text("10.0.0.1:80\nnowhere\n")
    found = await anext(scope["ListSource"](tmp_path / "list").sets())
    assert list(found.replicas) == ["10.0.0.1-80"]
    assert "nowhere is not used" in found.problem
