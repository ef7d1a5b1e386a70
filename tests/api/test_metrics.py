"""``GET /metrics``: the control plane's own metrics, for those who may ask."""

import pytest
from aiohttp import ClientResponse

from controlplane.metrics.metrics import wants_openmetrics
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


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text; q=0.000", False),
        ("application/openmetrics-text;version=1.0.0;q=0, text/plain", False),
        ("application/openmetrics-text;q=0.2,text/plain;version=0.0.4;q=0.3", False),
        ("application/openmetrics-text;q=0,*/*", False),
        ("*/*", False),
        ("", False),
        ("APPLICATION/OpenMetrics-Text;Q=0.1", True),
        ("application/openmetrics-text;q=0,application/openmetrics-text;version=1.0.0", True),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "application/openmetrics-text;version=0.0.1;q=0.5,"
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,"
            "*/*;q=0.2",
            True,
        ),
    ],
)
def test_the_weights_of_accept_choose_the_format(accept: str, openmetrics: bool) -> None:  # noqa: FBT001
    assert wants_openmetrics(accept) is openmetrics
