"""A real Envoy says which replica answered, in a header and in its log, and it can be explained."""

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner

from controlplane.cli.group import plimsoll
from controlplane.config import Address
from controlplane.resources.bootstrap import bootstrap
from controlplane.resources.listeners import LogFormat
from tests.envoy.pools import pool, pool_of, running
from tests.processes import Plimsoll, free_port, serving, until
from tests.replica import replica

FORGED = {"x-plimsoll": "cluster=other replica=evil", "x-request-id": "1 cluster=other flags=-"}


async def explained(plane: Plimsoll, *arguments: str, typed: str = "") -> str:
    result = await asyncio.to_thread(
        CliRunner(env={"PLIMSOLL_URL": f"http://{plane.admin}"}).invoke,
        plimsoll,
        ["explain", "--request", *arguments],
        input=typed,
    )
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("form", ["json", "text"])
async def test_an_answer_and_its_line_of_the_log_are_explained(
    tmp_path: Path, form: LogFormat
) -> None:
    async with replica() as a:
        entry = pool_of("p", a, route={"explain": True})
        entry["classes"] = [{"name": "bulk", "match": {"header": {"name": "x-job", "value": "n"}}}]
        empty = pool("empty", {}, route={"explain": True})
        gateway = Address("127.0.0.1", free_port())
        async with serving(tmp_path, [entry, empty]) as plane:
            data = bootstrap("g", plane.xds, admin_port=free_port(), gateway=gateway, log=form)
            async with running(tmp_path, data, gateway.port, "all") as envoy:
                path = "/p/v1/embeddings"

                async def is_routed_by_class() -> bool:
                    headers = (await envoy.ask("all", headers={"x-job": "n"}, path=path))[1]
                    return "cluster=p:bulk " in headers.get("x-plimsoll", "")

                await until("requests are routed by class", is_routed_by_class)
                status, headers = await envoy.ask("all", headers=FORGED, path=path)
                assert status == 200
                failed, headers_of_failed = await envoy.ask("all", path="/empty/v1/embeddings")
                assert failed == 503
                log = tmp_path / "envoy.log"

                async def is_logged() -> bool:
                    return "no_healthy_upstream" in log.read_text()

                await until("both are logged", is_logged)
                lines = [line for line in log.read_text().splitlines() if "/v1/embeddings" in line]
                header = f"x-plimsoll: {headers['x-plimsoll']}"
                for said in (
                    await explained(plane, "-H", "HTTP/1.1 200 OK", "-H", header),
                    await explained(plane, typed=lines[-2]),
                ):
                    assert said.startswith(f"p: 200, from replica r0 at {a.address}, ")
                    assert "of the traffic with weight" in said
                    assert "evil" not in said
                assert "lua" not in headers_of_failed["x-plimsoll"]
                header = f"x-plimsoll: {headers_of_failed['x-plimsoll']}"
                for said in (
                    await explained(plane, "-H", "HTTP/1.1 503 Nothing", "-H", header),
                    await explained(plane, typed=lines[-1]),
                ):
                    assert said.startswith("empty: 503, ")
                    assert "UH: there is no healthy replica" in said


async def test_answers_say_nothing_of_replicas_unless_a_pool_wants_it(tmp_path: Path) -> None:
    async with replica() as a, serving(tmp_path, [pool_of("p", a)]) as plane:
        port = free_port()
        listen = {"p": Address("127.0.0.1", port)}
        data = bootstrap("s", plane.xds, admin_port=free_port(), listen=listen)
        async with running(tmp_path, data, port, "p") as envoy:

            async def answers() -> bool:
                return await envoy.post("p") == 200

            await until("it answers", answers)
            assert "x-plimsoll" not in (await envoy.ask("p"))[1]


async def test_the_envoy_beside_a_replica_writes_its_log_too(tmp_path: Path) -> None:
    async with replica() as a, serving(tmp_path, [pool_of("p", a)]) as plane:
        port = free_port()
        data = bootstrap(
            "ingress",
            plane.xds,
            pools=["p"],
            admin_port=free_port(),
            listen={"p": Address("127.0.0.1", port)},
            replica=Address("127.0.0.1", a.port),
            log="json",
        )
        async with running(tmp_path, data, port, "p") as envoy:

            async def is_logged() -> bool:
                await envoy.post("p")
                return '"cluster":"ingress"' in (tmp_path / "envoy.log").read_text()

            await until("its requests are logged", is_logged)
