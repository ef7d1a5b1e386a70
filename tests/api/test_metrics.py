"""``GET /metrics``: the control plane's own metrics, for those who may ask."""

from aiohttp import ClientResponse

from tests.api.served import Served, served
from tests.metrics.exposed import parsed

TOKEN = "s3cret"  # noqa: S105 - of a server that only this test knows


async def fetched(api: Served, **headers: str) -> tuple[ClientResponse, str]:
    async with api.session.get(f"http://{api.address}/metrics", headers=headers) as response:
        return response, await response.text()


async def test_a_prometheus_server_reads_what_the_plane_holds() -> None:
    async with served() as api:
        await api.filled()
        api.plane.decide(api.now)
        response, text = await fetched(api)
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    weights = parsed(text)["plimsoll_replica_weight"].samples
    assert [sample.labels for sample in weights] == [
        {"pool": "m", "replica": "a"},
        {"pool": "m", "replica": "b"},
    ]


async def test_openmetrics_is_answered_when_it_is_accepted() -> None:
    async with served() as api:
        response, text = await fetched(api, Accept="application/openmetrics-text; version=1.0.0")
    assert response.content_type == "application/openmetrics-text"
    assert text.endswith("# EOF\n")


async def test_metrics_need_the_token_as_everything_else_does() -> None:
    async with served(token=TOKEN) as api:
        missing, text = await fetched(api)
        assert (missing.status, "plimsoll_" in text) == (401, False)
        given, _ = await fetched(api, Authorization=f"Bearer {TOKEN}")
        assert given.status == 200


async def test_a_page_of_another_site_may_not_read_them() -> None:
    async with served() as api:
        refused, _ = await fetched(api, Origin="https://evil.example")
        assert refused.status == 403


async def test_what_is_accepted_may_stand_in_several_headers() -> None:
    async with served() as api:
        both = [("Accept", "text/html"), ("Accept", "application/openmetrics-text; version=1.0.0")]
        answer = await api.ask("GET", "/metrics", headers=both)
        assert answer.content_type == "application/openmetrics-text"
