"""A real Prometheus scrapes a control plane and real Envoys: each query of rules and dashboards.

Prometheus and promtool are Debian's package `prometheus`, which `.ci/run` installs.
"""

import asyncio
import json
import math
import re
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml

from controlplane.config import Address
from controlplane.resources.bootstrap import bootstrap
from examples.observability.grafana.build import FOLDER, files
from examples.observability.grafana.parts import MOST
from tests.envoy.load import load
from tests.envoy.pools import all_serve, pool_of
from tests.processes import Envoy, Plimsoll, free_port, process, serving, started_envoy, until
from tests.replica import FakeReplica, replica

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "observability"
RULES: Final = EXAMPLES / "prometheus" / "plimsoll.rules.yml"
# Each evaluation costs, and what burns for days or ends in hours is seen by a few of them.
RULES_TESTS: Final = tuple(
    Path(__file__).with_name(name) for name in ("rules_test.yml", "slow_rules_test.yml")
)
POOL: Final = "minilm"
JOB: Final = {"x-job": "nightly"}
VARIABLES: Final = {
    "$__rate_interval": "1m",
    "$job": "plimsoll",
    "$pool": POOL,
    "$replica": "r0",
}
NOT_HERE: Final = {
    "plimsoll_certificate_expiry_timestamp_seconds": "this control plane has no TLS",
    "plimsoll_certificate_start_timestamp_seconds": "likewise",
    "envoy_cluster_ssl_certificate_expiration_unix_time_seconds": "nor have Envoys",
    "envoy_listener_ssl_certificate_expiration_unix_time_seconds": "likewise",
    "envoy_tls_certificate": "the label of these",
    "plimsoll_discovery_problem": "no replica is discovered",
}
"""Metrics that alerts ask for and that have no series in this world, and why."""

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="Prometheus is not installed: apt-get install prometheus",
)


def recorded() -> Iterator[str]:
    """The names of recording rules."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from (rule["record"] for rule in group["rules"] if "record" in rule)


def panels() -> Iterator[tuple[str, str]]:
    """Each query of the dashboards, with where it is."""
    for name in sorted(files()):
        for panel in json.loads((FOLDER / name).read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield f"{name}: {panel['title']}", _filled(target["expr"])


def _filled(query: str) -> str:
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    return query


class Prometheus:
    """A running Prometheus and its API."""

    def __init__(self, address: Address, session: aiohttp.ClientSession) -> None:
        self._url, self._session = f"http://{address}/api/v1", session

    async def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer; None while nobody answers."""
        try:
            async with self._session.get(f"{self._url}/{path}", params=parameters) as response:
                answer = await response.json()
        except aiohttp.ClientError:
            return None
        assert answer["status"] == "success", f"{path} {parameters}: {answer}"
        return answer["data"]

    async def values(self, query: str) -> list[float]:
        """The newest values of a query that are numbers."""
        found = (await self.get("query", query=query))["result"]
        return [
            item for item in (float(series["value"][1]) for series in found) if math.isfinite(item)
        ]

    async def alerts(self) -> set[str]:
        """The names of the alerts that are pending or firing."""
        return {alert["labels"]["alertname"] for alert in (await self.get("alerts"))["alerts"]}


@asynccontextmanager
async def prometheus(folder: Path, targets: Mapping[str, list[str]]) -> AsyncIterator[Prometheus]:
    """Run Prometheus with the example's config, but faster, and with these targets by job."""
    config = yaml.safe_load((EXAMPLES / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(RULES)]
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": targets[job["job_name"]]}]
    path, address = folder / "prometheus.yml", Address("127.0.0.1", free_port())
    path.write_text(yaml.safe_dump(config))
    options = (
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}",
    )
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        process("prometheus", *options, log=folder / "prometheus.log"),
    ):
        server = Prometheus(address, session)

        async def are_up() -> bool:
            found = await server.get("targets")
            active = found["activeTargets"] if found else ()
            return bool(active) and all(target["health"] == "up" for target in active)

        await until("Prometheus scrapes them all", are_up)
        yield server


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[tuple[Plimsoll, tuple[Envoy, ...], list[str]]]:
    """A control plane, two Envoys that show their metrics, four replicas; the last is full."""
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(replica()) for _ in range(4)]
        for fake in fakes:
            _fill(fake)
        fakes[-1].memory = (99 << 30, 100 << 30)
        entry = pool_of(
            POOL,
            *fakes,
            objective={"p99": "250ms", "availability": "99.9%"},
            classes=[{"name": "jobs", "match": {"header": {"name": "x-job", "value": "nightly"}}}],
        )
        plane = await stack.enter_async_context(serving(folder, [entry]))
        envoys, shown = [], []
        for node in ("one", "two"):
            stats, listener = (Address("127.0.0.1", free_port()) for _ in range(2))
            data = bootstrap(
                node, plane.xds, admin_port=free_port(), listen={POOL: listener}, stats=stats
            )
            ports = {POOL: listener.port}
            envoys.append(await stack.enter_async_context(started_envoy(folder, node, data, ports)))
            shown.append(str(stats))
        await until("both Envoys serve", lambda: all_serve(envoys, POOL))
        yield plane, (envoys[0], envoys[1]), shown


def _fill(fake: FakeReplica) -> None:
    fake.token_seconds, fake.queue, fake.memory = 0.001, 0, (10 << 30, 100 << 30)


async def test_every_query_of_rules_and_dashboards_has_data(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as (plane, (one, two), stats),
        load(one, POOL, rate=40),
        load(two, POOL, rate=20, headers=JOB),
        prometheus(tmp_path, {"plimsoll": [str(plane.admin)], "envoy": stats}) as seen,
    ):
        changing = asyncio.create_task(_change(plane))
        for where, query in [*((name, name) for name in recorded()), *panels()]:

            async def has_data(query: str = query) -> bool:
                return bool(await seen.values(query))

            await until(f"{where} has data: {query}", has_data)
        changing.cancel()

        async def is_cut() -> bool:
            return "PlimsollReplicaCutByMemory" in await seen.alerts()

        await until("the full replica alerts", is_cut)
        groups = (await seen.get("rules"))["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}, rules
        known = set(await seen.get("label/__name__/values"))
        text = RULES.read_text()
        asked = set(re.findall(r"\b(?:plimsoll|envoy)_\w+", text))
        assert {item for item in asked - known if f":{item}:" not in text} == NOT_HERE.keys()


async def test_no_chart_of_a_pool_has_a_line_for_each_of_many_replicas(tmp_path: Path) -> None:
    series, tests = set[str](), []
    for panel in json.loads((FOLDER / "pool.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            if "{{replica}}" in target["legendFormat"]:
                query = _filled(target["expr"])
                series.update(re.findall(r"([a-z0-9_:]+)\{", query))
                lines = f"count(count by (replica) ({query}))"
                drawn = {"labels": "{}", "value": MOST}
                tests.append({"expr": lines, "eval_time": "5m", "exp_samples": [drawn]})
    assert len(tests) > 8
    many = [
        {"series": f'{name}{{job="plimsoll",pool="{POOL}",replica="r{n}"}}', "values": f"{n}+{n}x9"}
        for name in series
        for n in range(1, 101)
    ]
    file = {"tests": [{"interval": "1m", "input_series": many, "promql_expr_test": tests}]}
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(file).replace("1m]", "5m]"))
    await _promtool("test", "rules", str(path))


async def _change(plane: Plimsoll) -> None:
    """Have something to tell Envoys, again and again."""
    path = f"/v1/pools/{POOL}/replicas/r1"
    while True:
        for change in ("drain", "undrain"):
            assert await plane.call("POST", f"{path}/{change}") == 200
            await asyncio.sleep(1.0)


async def test_prometheus_would_lint_nothing_of_what_is_exported(tmp_path: Path) -> None:
    async with world(tmp_path) as (plane, _, _):
        text = await plane.text("/metrics")
    lint = await asyncio.create_subprocess_exec(
        "promtool",
        "check",
        "metrics",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await lint.communicate(text.encode())
    assert (lint.returncode, said) == (0, b"")


async def test_an_envoy_shows_its_metrics_and_nothing_else_of_its_admin_interface(
    tmp_path: Path,
) -> None:
    async with (
        world(tmp_path) as (_, (envoy, _), (stats, _)),
        aiohttp.ClientSession(trust_env=False) as session,
    ):
        assert await envoy.post(POOL) == 200
        for path in ("/", "/stats", "/config_dump", "/stats/prometheus/", "/quitquitquit"):
            async with session.get(f"http://{stats}{path}") as response:
                assert response.status == 404, path
        async with session.post(f"http://{stats}/stats/prometheus") as response:
            assert response.status == 404
        async with session.get(f"http://{stats}/stats/prometheus") as response:
            text = await response.text()
    page = (EXAMPLES.parents[1] / "docs" / "metrics.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `envoy_")]
    told = [name for row in rows for name in re.findall(r"`(\w+)`", row) if name not in NOT_HERE]
    assert len(told) > 20
    for name in told:
        assert re.search(rf"^{name}(_bucket)?[{{ ]", text, re.M), name
    assert "envoy_cluster_upstream_cx_protocol_error" not in text


@pytest.mark.parametrize("name", ["prometheus.yml", "compose.yml"])
async def test_prometheus_takes_each_of_its_files(name: str) -> None:
    path = EXAMPLES / "prometheus" / name
    await _promtool("check", "config", "--syntax-only", str(path))


async def test_alerts_fire_where_they_must_and_nowhere_else() -> None:
    await _promtool("test", "rules", *map(str, RULES_TESTS))


async def _promtool(*arguments: str) -> None:
    tested = await asyncio.create_subprocess_exec(
        "promtool", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await tested.communicate()
    assert tested.returncode == 0, said.decode()


def test_each_alert_is_tested() -> None:
    text = "\n".join(file.read_text() for file in RULES_TESTS)
    for alert in re.findall(r"alert: (\w+)", RULES.read_text()):
        assert re.search(rf"alertname: {alert}\n\s+eval_time: \w+\n\s+exp_alerts:\n", text), alert
