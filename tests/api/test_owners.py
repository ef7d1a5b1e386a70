"""A token of the role register changes what it registered, and nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.config import Config, PoolEntry, ReplicaSettings, Role, Token, validated
from controlplane.fleet import registered, restored
from tests.api.served import POOL, Answer, Served, served
from tests.planes import declare, discover

TOKENS = (
    Token.of("operator", Role.OPERATE, "ops"),
    Token.of("mine", Role.REGISTER, "me"),
    Token.of("yours", Role.REGISTER, "you"),
)
REPLICAS = "/v1/pools/m/replicas"
CONFIG = {
    "pools": [
        {
            "name": "m",
            **POOL,
            "replicas": [{"id": "filed", "address": "127.0.0.1:9001"}],
            "discovery": [{"directory": {"path": "replicas.d"}}],
        }
    ]
}


async def ask(api: Served, token: str, method: str, path: str, body: Any = None) -> Answer:
    headers = {"Authorization": f"Bearer {token}"}
    return await api.ask(method, REPLICAS + path, json=body, headers=headers)


def at(port: int, **more: object) -> dict[str, object]:
    return {"address": f"127.0.0.1:{port}", "ttl": "30s", **more}


@asynccontextmanager
async def registry() -> AsyncIterator[Served]:
    """Replicas of the file, of a source, of two registering tokens and of an operator."""
    async with served(tokens=TOKENS) as api:
        config = validated(Config, CONFIG)
        declare(api.plane, config, api.now)
        found = {"found": validated(ReplicaSettings, {"address": "127.0.0.1:9002"})}
        (source,) = config.pools[0].discovery
        api.plane.discoveries.found("m", str(source), found, None, api.now)
        discover(api.plane, api.now)
        for token, id_, port in (("mine", "my", 9003), ("yours", "your", 9004)):
            assert (await ask(api, token, "PUT", f"/{id_}", at(port))).status == 201
        assert (await ask(api, "operator", "PUT", "/op", at(9005))).status == 201
        yield api


WHOSE = {
    "filed": "the config file declares replica 'filed'",
    "found": "directory replicas.d found replica 'found'",
    "your": "the token 'you' registered replica 'your'",
    "op": "the token 'ops' registered replica 'op'",
}


def changes(id_: str) -> tuple[tuple[str, str, Any], ...]:
    """Every request that changes a replica: method, path and body."""
    several = {"replicas": [{"id": "new", **at(9008)}, {"id": id_, **at(9009)}]}
    return (
        ("PUT", f"/{id_}", at(9009)),
        ("PUT", f"/{id_}?dry_run=true", at(9009)),
        ("PUT", "", several),
        ("PUT", "?dry_run=true", several),
        ("DELETE", f"/{id_}", None),
        ("DELETE", f"/{id_}?force=true", None),
        ("DELETE", f"/{id_}?dry_run=true", None),
        ("POST", f"/{id_}/drain", None),
        ("POST", f"/{id_}/undrain", None),
        ("POST", f"/{id_}/heartbeat", None),
    )


@pytest.mark.parametrize("id_", WHOSE)
async def test_what_is_not_its_own_a_registering_token_cannot_change(id_: str) -> None:
    async with registry() as api:
        before = api.plane.fleet
        for method, path, body in changes(id_):
            refused = await ask(api, "mine", method, path, body)
            assert (refused.status, method, path) == (403, method, path)
            assert refused.detail == (
                f"{WHOSE[id_]}; the token 'me' may only change what it registered"
            )
        assert api.plane.fleet is before


async def test_one_that_was_found_cannot_be_put_aside_by_another_at_its_address() -> None:
    async with registry() as api:
        refused = await ask(api, "mine", "PUT", "/new", at(9002))
        assert (refused.status, refused.detail.partition(";")[0]) == (403, WHOSE["found"])
        assert (await ask(api, "operator", "PUT", "/new", at(9002))).status == 201


async def test_an_address_that_another_token_took_names_it_and_an_operator_gives_it_back() -> None:
    async with registry() as api:
        refused = await ask(api, "mine", "PUT", "/new", at(9004))
        assert (refused.status, refused.detail) == (
            409,
            "address 127.0.0.1:9004 is already that of replica 'your', which the token 'you'"
            " registered",
        )
        assert (await ask(api, "operator", "DELETE", "/your?force=true")).status == 204
        assert (await ask(api, "mine", "PUT", "/new", at(9004))).status == 201


async def test_what_a_token_registered_it_may_change_and_an_operator_may_change_all() -> None:
    async with registry() as api:
        for token, id_ in (("mine", "my"), *(("operator", item) for item in ("my", "your", "op"))):
            changed = at({"my": 9003, "your": 9004, "op": 9005}[id_], slots=len(token))
            assert (await ask(api, token, "PUT", f"/{id_}", changed)).status == 200
            for action in ("heartbeat", "drain", "undrain"):
                assert (await ask(api, token, "POST", f"/{id_}/{action}")).status == 200
        # It stays whose it was, whoever has changed it.
        assert (await ask(api, "mine", "POST", "/my/heartbeat")).status == 200
        assert (await ask(api, "mine", "GET", "/my")).body["owner"] == "me"
        assert (await ask(api, "mine", "DELETE", "/my?force=true")).status == 204
        # What is gone is nobody's.
        assert (await ask(api, "yours", "PUT", "/my", at(9003))).status == 201


async def test_what_was_put_without_a_token_belongs_to_the_first_token_that_puts_it() -> None:
    async with served() as api:
        await api.filled()
        api.server.accept(TOKENS)
        assert (await ask(api, "mine", "PUT", "/a", at(9001))).status == 200
        assert (await ask(api, "yours", "PUT", "/a", at(9001))).status == 403
        assert (await ask(api, "yours", "POST", "/b/drain")).status == 200


async def test_whose_a_replica_is_outlives_a_restart() -> None:
    async with registry() as api:
        config = validated(Config, CONFIG)
        again = restored(registered(api.plane.fleet), config, api.now)
        owners = {replica.id: replica.layers.owner for replica in again.pool("m").replicas.values()}
        assert owners == {"my": "me", "your": "you", "op": "ops", "filed": None, "found": None}


async def test_one_that_the_file_declares_later_stays_its_owners_to_renew() -> None:
    async with registry() as api:
        pool = CONFIG["pools"][0]
        entry = {**pool, "replicas": [{"id": "my", "address": "127.0.0.1:9003"}]}
        both = [*pool["replicas"], *entry["replicas"]]
        config = Config(pools=(validated(PoolEntry, {**pool, "replicas": both}),))
        declare(api.plane, config, api.now)
        assert (await ask(api, "mine", "POST", "/my/heartbeat")).status == 200
        assert (await ask(api, "yours", "POST", "/my/heartbeat")).status == 403
