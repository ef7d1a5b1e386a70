"""Who is answered: the token and its role, and what a browser on this machine may not do."""

import pytest

from controlplane.config import Role, Token
from tests.api.served import POOL, REPLICA, served

TOKEN = "s3cret"  # noqa: S105 - of a server that only this test knows


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_with_a_token_only_those_who_send_it_are_answered() -> None:
    async with served(token=TOKEN) as api:
        assert (await api.ask("GET", "/v1/pools", headers=bearer(TOKEN))).status == 200
        missing = await api.ask("GET", "/v1/pools")
        assert (missing.status, missing.headers["WWW-Authenticate"][:6]) == (401, "Bearer")
        assert "the token is missing" in missing.detail


@pytest.mark.parametrize("given", ["s3cre", "s3cret2", "S3CRET", "", "s3cret s3cret", "\xe9"])
async def test_a_token_that_is_almost_right_is_wrong(given: str) -> None:
    async with served(token=TOKEN) as api:
        wrong = await api.ask("PUT", "/v1/pools/m", json=POOL, headers=bearer(given))
        assert (wrong.status, api.changes) == (401, 0)
        assert 'error="invalid_token"' in wrong.headers["WWW-Authenticate"]


async def test_another_scheme_is_no_token() -> None:
    async with served(token=TOKEN) as api:
        basic = await api.ask("GET", "/v1/pools", headers={"Authorization": "Basic s3cret"})
        assert basic.status == 401


async def test_the_scheme_may_be_written_in_any_case() -> None:
    async with served(token=TOKEN) as api:
        for scheme in ("bearer", "BEARER"):
            headers = {"Authorization": f"{scheme} {TOKEN}"}
            assert (await api.ask("GET", "/v1/pools", headers=headers)).status == 200


async def test_what_only_begins_like_a_path_for_all_needs_the_token() -> None:
    async with served(token=TOKEN) as api:
        for path in ("/livez/x", "/docs2", "/openapi.json/v1/pools"):
            assert (await api.ask("GET", path)).status == 401


async def test_without_the_token_not_even_unknown_paths_are_told_apart() -> None:
    async with served(token=TOKEN) as api:
        for method, path in (("GET", "/nothing"), ("PATCH", "/v1/pools"), ("PUT", "/v1/pools/m")):
            assert (await api.ask(method, path)).status == 401


async def test_with_a_token_any_host_name_may_be_used() -> None:
    async with served(token=TOKEN) as api:
        headers = bearer(TOKEN) | {"Host": "plimsoll.example"}
        assert (await api.ask("GET", "/v1/pools", headers=headers)).status == 200


async def test_probes_need_no_token_and_no_name() -> None:
    async with served(token=TOKEN) as api:
        assert (await api.ask("GET", "/livez")).status == 200
        assert (await api.ask("GET", "/readyz")).status == 200
    async with served() as api:
        assert (await api.ask("GET", "/livez", headers={"Host": "10.1.2.3:8080"})).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "10.0.0.1:8080",
        "0.0.0.0:8080",
        "[::1",
        "",
    ],
)
async def test_a_host_name_that_was_made_to_resolve_to_loopback_is_refused(host: str) -> None:
    async with served() as api:
        answer = await api.ask("PUT", "/v1/pools/m", json=POOL, headers={"Host": host})
        assert (answer.status, api.changes) == (403, 0)
        assert "only requests to a loopback name" in answer.detail


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080", "[::1]"]
)
async def test_every_loopback_name_is_answered(host: str) -> None:
    async with served() as api:
        assert (await api.ask("GET", "/v1/pools", headers={"Host": host})).status == 200


async def test_a_request_without_a_host_is_refused() -> None:
    async with served() as api:
        answer = await api.raw(b"GET /v1/pools HTTP/1.0\r\n\r\n")
        assert b" 403 " in answer.split(b"\r\n")[0]


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost.evil.example", "file://", "http://["],
)
async def test_a_page_of_another_site_may_change_nothing(origin: str) -> None:
    async with served() as api:
        await api.filled()
        path = "/v1/pools/m/replicas/a/drain"
        answer = await api.ask("POST", path, headers={"Origin": origin})
        assert (answer.status, api.changes) == (403, 0)
        assert "a web page of another site" in answer.detail


async def test_a_page_of_this_machine_is_answered() -> None:
    async with served() as api:
        headers = {"Origin": "http://127.0.0.1:3000"}
        assert (await api.ask("GET", "/v1/pools", headers=headers)).status == 200


TOKENS = tuple(Token.of(f"token-of-{role}", role, f"one-who-may-{role}") for role in Role)
PATH = "/v1/pools/m/replicas/a"


@pytest.mark.parametrize(
    ("method", "path", "body", "needs"),
    [
        ("GET", "/v1/pools", None, Role.READ),
        ("GET", "/v1/pools/m", None, Role.READ),
        ("GET", "/v1/pools/m/replicas", None, Role.READ),
        ("GET", PATH, None, Role.READ),
        ("GET", "/v1/nodes", None, Role.READ),
        ("GET", "/metrics", None, Role.READ),
        ("PUT", PATH, REPLICA, Role.REGISTER),
        ("PUT", "/v1/pools/m/replicas", {"replicas": [REPLICA | {"id": "a"}]}, Role.REGISTER),
        ("POST", f"{PATH}/drain", None, Role.REGISTER),
        ("POST", f"{PATH}/undrain", None, Role.REGISTER),
        ("POST", f"{PATH}/heartbeat", None, Role.REGISTER),
        ("DELETE", PATH, None, Role.REGISTER),
        ("GET", "/v1/audit", None, Role.OPERATE),
        ("PUT", "/v1/pools/m", POOL, Role.OPERATE),
        ("DELETE", "/v1/pools/m", None, Role.OPERATE),
    ],
)
async def test_each_role_may_do_what_it_is_for_and_no_more(
    method: str, path: str, body: object, needs: Role
) -> None:
    async with served(tokens=TOKENS) as api:
        operate, register = bearer("token-of-operate"), bearer("token-of-register")
        await api.ask("PUT", "/v1/pools/m", json=POOL, headers=operate)
        await api.ask("PUT", PATH, json=REPLICA | {"ttl": "30s"}, headers=register)
        before = api.plane.fleet
        allowed = []
        for role in Role:
            headers = bearer(f"token-of-{role}")
            answer = await api.ask(method, path, json=body, headers=headers)
            if answer.status == 403:
                assert f"has the role {role}; this takes the role {needs}" in answer.detail
                assert api.plane.fleet is before
            else:
                assert answer.status < 300
                allowed.append(role)
                break
        assert allowed == [needs]


async def test_who_may_not_do_something_is_not_told_whether_it_is_there() -> None:
    async with served(tokens=TOKENS) as api:
        answers = [
            await api.ask("DELETE", path, headers=bearer("token-of-read"))
            for path in ("/v1/pools/q", "/v1/pools/q?x=1", "/v1/pools/-")
        ]
        assert [answer.status for answer in answers] == [403, 403, 403]


async def test_a_token_is_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with served(tokens=TOKENS) as api:
        said = ""
        for token in ("token-of-operate", "token-that-is-wrong"):
            for method, path in (("PUT", "/v1/pools/m"), ("GET", "/v1/audit"), ("GET", "/x")):
                answer = await api.ask(method, path, json=POOL, headers=bearer(token))
                said += f"{answer.body}{dict(answer.headers)}"
        for path in ("/openapi.json", "/metrics"):
            async with api.session.get(
                f"http://{api.address}{path}", headers=bearer("token-of-read")
            ) as response:
                said += await response.text()
    assert "one-who-may-operate" in said
    assert "token-of" not in said + caplog.text
    assert "token-that" not in said + caplog.text
