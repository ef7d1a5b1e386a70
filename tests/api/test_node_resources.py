"""``POST /v1/resources``: what an Envoy would be sent, whether it is connected or not."""

from typing import Any

import pytest

from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from tests.api.served import served

PATH = "/v1/resources"


async def test_it_is_what_the_node_asks_for() -> None:
    async with served() as api:
        await api.filled()
        answer = await api.ask("POST", PATH, json={})
        assert answer.status == 200
        found = answer.body["resources"]
        assert {*found} == {CLUSTER, ENDPOINT, SECRET, LISTENER, ROUTE}
        assert "m" in found[ENDPOINT]
        assert [*found[LISTENER]] == ["m"]
        wanted = {"role": "gateway", "listen": {"*": "127.0.0.1:10009"}}
        answer = await api.ask("POST", PATH, json={"metadata": {"plimsoll": wanted}})
        assert [*answer.body["resources"][LISTENER]] == ["gateway"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"metadata": {"plimsoll": {"pools": ["none"]}}}, 404, "there is no pool 'none'"),
        ({"metadata": {"plimsoll": {"listen": {"none": "127.0.0.1:1"}}}}, 404, "'none'"),
        ({"metadata": {"plimsoll": {"pools": 1}}}, 422, "must be a list, not 1"),
        ({"metadata": 1}, 422, "metadata"),
        ({"locality": {"region": "e/ /"}}, 422, "region"),
        ({"node": "n"}, 422, "node: unknown key"),
    ],
)
async def test_what_cannot_be_shown_is_one_sentence(
    body: dict[str, Any], status: int, says: str
) -> None:
    async with served() as api:
        await api.filled()
        answer = await api.ask("POST", PATH, json=body)
        assert answer.status == status
        assert says in answer.body["detail"]


async def test_nothing_is_shown_before_the_replicas_are_known() -> None:
    async with served() as api:
        await api.filled()
        api.plane.recovery.begin()
        api.plane.decide(api.now)
        answer = await api.ask("POST", PATH, json={})
        assert answer.status == 503
        assert answer.body["detail"].startswith("not all replicas are known yet")
        api.plane.recovery.release("m")
        api.plane.decide(api.now)
        assert (await api.ask("POST", PATH, json={})).status == 200
        api.is_ready = False
        assert (await api.ask("POST", PATH, json={})).status == 503
