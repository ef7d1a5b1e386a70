"""What docs/profiles.md and its example say is what the code does."""

import re
from pathlib import Path

from controlplane.config import SERVERS, load_config
from controlplane.telemetry import PROFILES, Source, profile_of
from controlplane.telemetry.devices import DEVICE_PROFILES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/profiles.md").read_text()


def family(source: Source | None) -> str:
    return " or ".join(f"`{name}`" for name in source.families) if source else "–"


def row(name: str) -> str:
    """The line of a profile in the table."""
    profile, server = PROFILES[name], SERVERS[name]
    latency = ", else ".join(
        f"{family(item.source)} {item.kind}, {item.source.unit}"
        + (f", with `{item.count}`" if item.count else "")
        for item in profile.latency
    )
    port = f":{server.metrics_port}" if server.metrics_port else ""
    cells = (
        f"`{name}`", latency or "–", family(profile.memory.used if profile.memory else None),
        family(profile.queue), family(profile.running), family(profile.errors),
        family(profile.tokens),
        f"`{server.health}`", f"`{port}{server.metrics}`",
        f"`{server.api}`" if server.api else "yours",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def test_the_table_of_profiles_says_what_is_read() -> None:
    lines = PAGE.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("|---")) + 1
    assert lines[begin : begin + len(PROFILES) + 1] == [*map(row, PROFILES), ""]


def test_every_server_that_needs_a_word_has_one() -> None:
    named = set(re.findall(r"\*\*([a-z-]+)\*\*", PAGE))
    assert named == set(PROFILES) - {"xinference"}


def test_every_exporter_of_gpu_memory_is_named() -> None:
    table = PAGE.split("## GPU memory from exporters")[1]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == [*DEVICE_PROFILES]
    for name, profile in DEVICE_PROFILES.items():
        (line,) = re.findall(rf"^\| `{name}` \|.*$", table, re.MULTILINE)
        for family in profile.families:
            assert f"`{family}`" in line
        for label in profile.labels:
            assert f"`{label}`" in line


def test_the_example_is_a_config_and_its_own_families_are_read_as_it_says() -> None:
    file = ROOT / "examples/profiles/plimsoll.yaml"
    triton, own, unscraped = load_config(file.read_text(), file.name).pools
    assert (triton.health_check.path, triton.metrics.port) == ("/v2/health/ready", 8002)
    assert dict(profile_of(triton.metrics).latency[0].source.labels) == {"model": "reranker"}
    memory = profile_of(own.metrics).memory
    assert memory is not None
    assert [source.family for source in memory.total] == [
        "my_gpu_used", "my_gpu_free", "my_gpu_reserved",
    ]  # fmt: skip
    assert not unscraped.metrics.is_scraped
    assert unscraped.metrics.gpu is not None
