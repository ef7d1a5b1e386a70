"""The log of ``plimsoll serve`` as JSON: every line is an object, and no secret is in any."""

import json
from pathlib import Path

import aiohttp
import yaml

from tests.processes import command, free_port, until
from tests.replica import replica

TOKEN = "operate-token-with-some-length"  # noqa: S105 - of this test alone
CHECK = "hc-bearer-7Qx2"


async def test_every_line_is_an_object_and_what_happens_to_a_replica_is_one(
    tmp_path: Path,
) -> None:
    admin = f"127.0.0.1:{free_port()}"
    (tmp_path / "tokens").write_text(TOKEN)
    config = tmp_path / "plimsoll.yaml"
    servers = {
        "admin": {"address": admin, "token_file": "tokens"},
        "xds": {"address": f"127.0.0.1:{free_port()}"},
    }
    config.write_text(yaml.safe_dump(servers))
    log = tmp_path / "plimsoll.log"

    def lines() -> list[dict[str, object]]:
        return [json.loads(line) for line in log.read_text().splitlines()]

    async def says(words: str) -> bool:
        return words in log.read_text()

    options = ("serve", "--config", config, "--log-format", "json")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        command(log, *options) as started,
        aiohttp.ClientSession(f"http://{admin}", headers=headers) as session,
    ):
        await until("it serves", lambda: says("REST on"))
        pool = {
            "model": "m",
            "listener": {"address": "127.0.0.1:10000"},
            "health_check": {"headers": {"authorization": f"Bearer {CHECK}"}},
        }
        async with replica() as a:
            for path, body in (("m", pool), ("m/replicas/a", {"address": a.address})):
                async with session.put(f"/v1/pools/{path}", json=body) as response:
                    assert response.status == 201
            await until("the replica is ready", lambda: says("m/a is ready"))
        await until("the replica is gone", lambda: says("m/a is gone"))
        started.terminate()
        await started.wait()
    found = lines()
    assert all({"time", "level", "logger"} <= item.keys() for item in found)
    (added,) = [each["audit"] for each in found if "audit" in each and '"m"' in json.dumps(each)][
        :1
    ]
    assert isinstance(added, dict)
    assert added["pool"] == "m"
    assert ("warning", "controlplane.api.events") in [
        (entry["level"], entry["logger"]) for entry in found
    ]
    for secret in (TOKEN, CHECK):
        assert secret not in log.read_text()


async def test_replicas_that_do_not_answer_at_the_start_are_counted(tmp_path: Path) -> None:
    config, log = tmp_path / "plimsoll.yaml", tmp_path / "plimsoll.log"
    async with replica() as a:
        pool = {
            "name": "m",
            "model": "m",
            "listener": {"address": "127.0.0.1:10000"},
            "replicas": [
                {"id": "a", "address": a.address},
                {"id": "b", "address": f"127.0.0.1:{free_port()}"},
            ],
        }
        servers = {
            "admin": {"address": f"127.0.0.1:{free_port()}"},
            "xds": {"address": f"127.0.0.1:{free_port()}"},
        }
        config.write_text(yaml.safe_dump(servers | {"pools": [pool]}))

        async def says_so() -> bool:
            words = "pool m: 1 of 2 replicas are not ready; `plimsoll explain m` says why"
            return words in log.read_text()

        async with command(log, "serve", "--config", config):
            await until("it says so", says_so)
