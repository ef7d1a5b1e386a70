"""What docker-compose.yaml, Dockerfile and their neighbours say, as plain data for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def compose() -> dict[str, Any]:
    """The compose file with its anchors merged, which is how compose reads it."""
    read: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    return read


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def asked(service: str) -> list[str]:
    """The argv of a service's healthcheck, with compose's ``$$`` read as it reads it."""
    kind, *argv = services()[service]["healthcheck"]["test"]
    assert kind == "CMD"
    return [part.replace("$$", "$") for part in argv]
