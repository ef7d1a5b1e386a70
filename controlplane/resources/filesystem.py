"""Resources in files, for an Envoy that no control plane tells of changes.

A folder has one file for each subscription of an Envoy, as a discovery response in JSON. Envoy
reads all of them again when something is moved into the folder around it: so `CURRENT` in that is
a symbolic link to one folder, and then to another.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET

CURRENT: Final = "current"
"""The link to the folder with the files that Envoy is to read."""

CLUSTERS: Final = "cds.json"
LISTENERS: Final = "lds.json"

_FOLDERS: Final = {ENDPOINT: "eds", ROUTE: "rds", SECRET: "sds"}
"""By type: of these Envoy asks for each by its name, and takes no others beside it."""

_ASKING: Final = (
    ("edsConfig", "serviceName", ENDPOINT),
    ("configSource", "routeConfigName", ROUTE),
    ("sdsConfig", "name", SECRET),
)
"""The keys under which a resource says where another one is, and what that is called."""

Resources: TypeAlias = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""As protobuf's JSON, by type and name."""

Files: TypeAlias = dict[str, dict[str, Any]]
"""Discovery responses by the file's path below the folder."""


def source(folder: PurePath, file: str) -> dict[str, Any]:
    """The ``ConfigSource`` of a file.

    Args:
        folder: Absolute, as the Envoy sees it; that around the link.
        file: Below what the link leads to.
    """
    path = {"path": str(folder / CURRENT / file), "watchedDirectory": {"path": str(folder)}}
    return {"pathConfigSource": path, "resourceApiVersion": "V3"}


def files(resources: Resources, folder: PurePath) -> Files:
    """The contents of the files."""
    found = {
        path: _response(
            type_url, [_in_files(each, name, folder) for name, each in resources[type_url].items()]
        )
        for path, type_url in ((CLUSTERS, CLUSTER), (LISTENERS, LISTENER))
    }
    for type_url in _FOLDERS:
        for name, each in resources.get(type_url, {}).items():
            found[_file(type_url, name)] = _response(type_url, [each])
    return found


def steps(before: Files, after: Files) -> Iterator[Files]:
    """The ways from what an Envoy has to what it is to have, by which it loses no request.

    It needs a moment between two: routes follow the clusters that they lead to, and clusters go
    when no route leads to them.
    """
    old, new = _clusters(before), _clusters(after)
    came, went = new.keys() - old.keys(), old.keys() - new.keys()
    if not before or not (came or went):
        yield after
        return
    left = {path: each for path, each in before.items() if path not in after}
    both = {**left, **after, CLUSTERS: _response(CLUSTER, [*({**old, **new}).values()])}
    if came:
        routes = {path: each for path, each in before.items() if _is_route(path)}
        others = {path: each for path, each in both.items() if not _is_route(path)}
        yield {**others, **routes}
    if went:
        yield both
    yield after


def longest_check(found: Files) -> float:
    """Seconds for which a cluster may wait for its first health checks."""
    timeouts = (
        float(check["timeout"].removesuffix("s"))
        for cluster in _clusters(found).values()
        for check in cluster.get("healthChecks", ())
    )
    return max(timeouts, default=0.0)


def _clusters(found: Files) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in found.get(CLUSTERS, {}).get("resources", ())}


def _is_route(path: str) -> bool:
    return path == LISTENERS or path.startswith(f"{_FOLDERS[ROUTE]}/")


def _file(type_url: str, name: str) -> str:
    return f"{_FOLDERS[type_url]}/{quote(name, safe='')}.json"


def _response(type_url: str, resources: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {"resources": [{"@type": type_url, **each} for each in resources]}


def _in_files(part: Any, owner: str, folder: PurePath) -> Any:
    """The same resource, or part of one, that asks files for what it would ask a control plane."""
    if isinstance(part, list):
        return [_in_files(each, owner, folder) for each in part]
    if not isinstance(part, dict):
        return part
    changed = {key: _in_files(value, owner, folder) for key, value in part.items()}
    for key, named, type_url in _ASKING:
        if "ads" in changed.get(key, ()):
            changed[key] = source(folder, _file(type_url, changed.get(named, owner)))
    return changed
