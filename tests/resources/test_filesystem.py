"""Resources in files: where each one is, and the steps from one export to the next."""

from pathlib import PurePosixPath
from typing import Any

from controlplane.config import load_config
from controlplane.fleet import Fleet, declare
from controlplane.plane import first_catalog
from controlplane.resources.filesystem import (
    CLUSTERS,
    LISTENERS,
    Files,
    files,
    longest_check,
    steps,
)
from controlplane.resources.messages import snapshot_to_json
from controlplane.resources.views import METADATA_KEY, View

FOLDER = PurePosixPath("/etc/envoy/xds")
TLS = '{certificate: "/tls/a.pem", key: "/tls/a.key"}'


def exported(*pools: str, metadata: dict[str, Any] | None = None) -> Files:
    text = "pools:\n" + "\n".join(
        f"- {{name: {name}, model: m, listener: {{address: '127.0.0.1:{10_000 + number}',"
        f" tls: {TLS}}}, replicas: [{{id: a, address: '127.0.0.1:{9_000 + number}'}}]}}"
        for number, name in enumerate(pools)
    )
    fleet = declare(Fleet(), load_config(text, "f"), 0.0).fleet
    view = View.of({METADATA_KEY: metadata or {}})
    return files(snapshot_to_json(first_catalog(fleet, "t.example").view(view)), FOLDER)


def sources(part: Any) -> list[str]:
    """The paths that resources are read from; none may be asked for in another way."""
    if isinstance(part, list):
        return [path for each in part for path in sources(each)]
    if not isinstance(part, dict):
        return []
    assert "ads" not in part
    found = [path for each in part.values() for path in sources(each)]
    if "pathConfigSource" in part:
        source = part["pathConfigSource"]
        assert source["watchedDirectory"] == {"path": str(FOLDER)}
        found.append(source["path"])
    return found


def clusters(found: Files) -> set[str]:
    return {resource["name"] for resource in found[CLUSTERS]["resources"]}


def test_every_resource_is_asked_for_where_its_file_is_and_alone_in_it() -> None:
    found = exported("m", "n")
    asked = {path for content in found.values() for path in sources(content)}
    assert asked == {f"{FOLDER}/current/{path}" for path in found.keys() - {CLUSTERS, LISTENERS}}
    assert {path.partition("/")[0] for path in found} == {
        CLUSTERS,
        LISTENERS,
        "eds",
        "rds",
        "sds",
    }
    for path, content in found.items():
        assert "/" not in path or len(content["resources"]) == 1


def test_a_first_export_is_one_step_and_so_is_one_with_the_same_clusters() -> None:
    first, moved = exported("m"), exported("m")
    moved["eds/m.json"] = {"resources": []}
    assert [*steps({}, first)] == [first]
    assert [*steps(first, moved)] == [moved]


def test_routes_follow_new_clusters_and_old_clusters_follow_routes() -> None:
    before, after = exported("m", "old"), exported("m", "new")
    both, routed, last = steps(before, after)
    assert clusters(both) == clusters(routed) == clusters(before) | clusters(after)
    assert both[LISTENERS] == before[LISTENERS]
    assert both["rds/old.json"] == before["rds/old.json"]
    assert routed[LISTENERS] == after[LISTENERS]
    assert last == after
    # What is read at a step is there.
    for step in (both, routed, last):
        here = {f"{FOLDER}/current/{path}" for path in step}
        assert {path for content in step.values() for path in sources(content)} <= here


def test_a_step_is_given_the_time_of_a_health_check() -> None:
    assert longest_check(exported("m")) == 1.0
    assert longest_check({}) == 0.0
