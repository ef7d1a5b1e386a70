"""Bad input: a status, one sentence, and nothing has changed."""

import json

import pytest

from controlplane.api.server import Limits
from tests.api.served import JSON, POOL, REPLICA, served

POOL_PATH = "/v1/pools/m"
REPLICA_PATH = "/v1/pools/m/replicas/c"


def pool(**keys: object) -> bytes:
    return json.dumps(POOL | keys).encode()


def replica(**keys: object) -> bytes:
    return json.dumps({"address": "127.0.0.1:9003"} | keys).encode()


MALFORMED = {
    "NaN": (b'{"memory": {"soft": NaN}}', "NaN is not a JSON number"),
    "Infinity": (b'{"memory": {"soft": -Infinity}}', "-Infinity is not a JSON number"),
    "1e999": (b'{"slots": 1e999}', "the number '1e999' is too large"),
    "5,000 digits": (
        b'{"slots": ' + b"9" * 5000 + b"}",
        f"the number '{'9' * 57}...' has more than 18 digits",
    ),
    "100k nesting": (b"[" * 100_000, "the body is nested too deeply"),
    "100k nesting in objects": (b'{"a":' * 100_000, "the body is nested too deeply"),
    "duplicate keys": (b'{"model": "a", "model": "b"}', "key 'model' stands twice in one object"),
    "lone surrogate": (rb'{"model": "\ud800"}', "contains half of a surrogate pair"),
    "lone surrogate in a key": (rb'{"\udc00": 1}', "contains half of a surrogate pair"),
    "NUL": (rb'{"model": "a\u0000"}', r"'a\x00' contains a NUL character"),
    "invalid UTF-8": (b'{"model": "\xff"}', "the body is not UTF-8 at byte 11"),
    "byte order mark": (b"\xef\xbb\xbf{}", "the body begins with a byte order mark"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "the body is not UTF-8 at byte 0"),
    "nothing": (b"", "the body is empty"),
    "half an object": (b'{"a": 1', "the body is not JSON: expecting ',' delimiter at line 1"),
    "two documents": (b"{} {}", "the body is not JSON: extra data at line 1, column 4"),
    "single quotes": (b"{'a': 1}", "the body is not JSON"),
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_what_is_not_strict_json_is_refused(what: str) -> None:
    body, sentence = MALFORMED[what]
    async with served() as api:
        await api.filled()
        before = api.plane.fleet
        answer = await api.send(POOL_PATH, body)
        assert answer.status == 400
        assert sentence in answer.detail
        assert len(answer.detail) < 200
        assert (api.plane.fleet, api.changes) == (before, 0)


WRONG = {
    "a list": (POOL_PATH, b"[]", "", "the body must be an object"),
    "null": (POOL_PATH, b"null", "", "the body must be an object"),
    "unknown field": (POOL_PATH, pool(modle="x"), "/modle", "did you mean 'model'"),
    "nested": (POOL_PATH, pool(route={"timeout": 3}), "/route/timeout", "not a duration"),
    "another name": (POOL_PATH, pool(name="other"), "/name", "must be 'm', as in the path"),
    "a name that is none": (POOL_PATH, pool(name=None), "/name", "must be 'm', as in the path"),
    "missing field": (POOL_PATH, b'{"model": "x"}', "/listener", "is required and missing"),
    "true as number": (
        REPLICA_PATH,
        replica(slots=True),
        "/slots",
        "must be a whole number, not true",
    ),
    "too many slots": (REPLICA_PATH, replica(slots=10**17), "/slots", "at most 4096, not 1000"),
    "port 0": (REPLICA_PATH, replica(address="10.0.0.1:0"), "/address", "port 0 reaches nothing"),
    "port 65536": (REPLICA_PATH, replica(address="10.0.0.1:65536"), "/address", "port up to 65535"),
    "IPv6 zone": (REPLICA_PATH, replica(address="[fe80::1%eth0]:80"), "/address", "IPv6 zone id"),
    "metadata": (REPLICA_PATH, replica(address="169.254.169.254:80"), "/address", "link-local"),
    "unwrapped": (REPLICA_PATH, replica(address="[::ffff:a9fe:a9fe]:80"), "/address", "link-local"),
    "a URL": (REPLICA_PATH, replica(address="http://10.0.0.1:80"), "/address", "leave out the sch"),
    "another id": (REPLICA_PATH, replica(id="d"), "/id", "must be 'c', as in the path"),
    "label": (REPLICA_PATH, replica(labels={"a/b~c": "\n"}), "/labels/a~1b~0c", "must match"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_what_is_wrong_is_said_with_a_pointer_to_it(what: str) -> None:
    path, body, pointer, sentence = WRONG[what]
    async with served() as api:
        await api.filled()
        before = api.plane.fleet
        answer = await api.send(path, body)
        assert answer.status == 422
        assert sentence in answer.detail
        assert answer.body["pointer"] == pointer
        assert (api.plane.fleet, api.changes) == (before, 0)


@pytest.mark.parametrize(
    "name", ["..%2Fm", "%2e%2e", "a%20b", "a%00", "a%0Ab", "%C3%A9", "%ff", "-a", "a" * 64]
)
@pytest.mark.parametrize("below", ["/v1/pools/", "/v1/pools/m/replicas/"])
async def test_a_name_that_could_mean_something_elsewhere_is_refused(below: str, name: str) -> None:
    async with served() as api:
        await api.filled()
        before = api.plane.fleet
        for method in ("GET", "DELETE"):
            assert "cannot name a" in (await api.ask(method, below + name)).detail
        answer = await api.ask("PUT", below + name, json=POOL)
        assert (answer.status, api.plane.fleet) == (400, before)


async def test_a_long_name_is_not_echoed_in_full() -> None:
    async with served() as api:
        answer = await api.ask("GET", "/v1/pools/" + "a" * 5000)
        assert (answer.status, len(answer.detail) < 250) == (400, True)


async def test_a_long_key_is_not_echoed_in_full() -> None:
    async with served() as api:
        answer = await api.send(POOL_PATH, pool(**{"k" * 500_000: 1}))
        assert answer.status == 422
        assert len(answer.detail) <= 400
        assert len(answer.body["pointer"]) <= 400


async def test_a_key_with_control_characters_is_echoed_without_them() -> None:
    async with served() as api:
        answer = await api.send(POOL_PATH, pool(**{"\x1b[2J\n": 1}))
        assert answer.detail.startswith(r"['\x1b[2J\n']: unknown key")


@pytest.mark.parametrize("type_", ["text/plain", "application/x-www-form-urlencoded", "text/json"])
async def test_only_json_is_taken(type_: str) -> None:
    async with served() as api:
        answer = await api.ask("PUT", POOL_PATH, data=pool(), headers={"Content-Type": type_})
        assert (answer.status, api.changes) == (415, 0)
        assert "Content-Type: application/json" in answer.detail


async def test_a_compressed_body_is_refused_before_it_is_unpacked() -> None:
    async with served() as api:
        headers = JSON | {"Content-Encoding": "gzip"}
        answer = await api.ask("PUT", POOL_PATH, data=b"\x1f\x8b not gzip", headers=headers)
        assert (answer.status, answer.detail) == (415, "the body must be sent uncompressed")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_a_mebibyte_is_refused(chunked: bool) -> None:  # noqa: FBT001
    async with served() as api:
        body = b" " * (1 << 20) + pool()
        answer = await api.ask("PUT", POOL_PATH, data=body, headers=JSON, chunked=chunked or None)
        assert (answer.status, api.changes) == (413, 0)
        assert answer.detail == "the body is longer than 1048576 bytes"


async def test_a_body_that_is_announced_as_too_long_is_not_waited_for() -> None:
    async with served() as api:
        answer = await api.raw(
            b"PUT /v1/pools/m HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1048577\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_of_a_mebibyte_is_taken() -> None:
    async with served() as api:
        answer = await api.send(POOL_PATH, pool().ljust(1 << 20))
        assert answer.status == 201


async def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    async with served(limits=Limits(body=0.05)) as api:
        answer = await api.raw(
            b"PUT /v1/pools/m HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        assert answer.startswith(b"HTTP/1.1 408 ")
        # What comes of it later must not be taken for another request.
        assert b"connection: close" in answer.lower().partition(b"\r\n\r\n")[0]
        assert b"the body did not arrive within 0.05 s" in answer


async def test_a_path_that_is_not_served_says_so() -> None:
    async with served() as api:
        for path in ("/v0", "/v1", "/v1/pools/m/replicas/a/reboot", "/v2/pools"):
            answer = await api.ask("GET", path)
            assert (answer.status, answer.detail) == (404, "nothing is served at this path")


async def test_a_method_that_a_path_does_not_take_names_those_that_it_does() -> None:
    async with served() as api:
        answer = await api.ask("PATCH", POOL_PATH, json=POOL)
        assert answer.status == 405
        assert answer.headers["Allow"] == "DELETE, GET, HEAD, PUT"
        assert "not PATCH" in answer.detail


async def test_a_replica_of_a_pool_that_is_not_there_is_not_found() -> None:
    async with served() as api:
        answer = await api.ask("PUT", "/v1/pools/q/replicas/a", json=REPLICA)
        assert (answer.status, answer.detail) == (404, "there is no pool 'q'")


NO_BODY = [
    ("POST", f"{POOL_PATH}/replicas/a/drain"),
    ("POST", f"{POOL_PATH}/replicas/a/drain?dry_run=true"),
    ("POST", f"{POOL_PATH}/replicas/b/undrain"),
    ("POST", f"{POOL_PATH}/replicas/a/heartbeat"),
    ("DELETE", f"{POOL_PATH}/replicas/a"),
    ("DELETE", POOL_PATH),
]


@pytest.mark.parametrize("body", [b"junk{", b'{"force": true}', b"[]", b"null"])
@pytest.mark.parametrize(("method", "path"), NO_BODY)
async def test_a_body_that_nothing_reads_is_refused(method: str, path: str, body: bytes) -> None:
    async with served() as api:
        await api.filled()
        await api.ask("POST", f"{POOL_PATH}/replicas/b/drain")
        before, changes = api.plane.fleet, api.changes
        for chunked in (None, True):
            answer = await api.ask(method, path, data=body, headers=JSON, chunked=chunked)
            assert (answer.status, answer.detail) == (400, "no body is taken here; leave it out")
        assert (api.plane.fleet, api.changes) == (before, changes)


@pytest.mark.parametrize("body", [b"", b"{}", b" {}\n"])
async def test_a_body_that_says_nothing_is_taken(body: bytes) -> None:
    async with served() as api:
        await api.filled()
        for chunked in (None, True):
            answer = await api.ask(*NO_BODY[0], data=body, headers=JSON, chunked=chunked)
            assert (answer.status, answer.body["draining"]) == (200, "operator")
