"""``plimsoll ca``: from an empty folder to a node that has joined."""

import json
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from controlplane.ca.certificates import certificates_of
from controlplane.ca.folder import CaFolder
from controlplane.ca.issuing import Issuer
from controlplane.cli.group import plimsoll
from controlplane.identity import Admission, Credentials, Identity, checked
from tests.api.served import Served, served
from tests.cli.answering import run

NOW = 1_800_000_000.0


@dataclass
class Now:
    """The time that commands and the server see."""

    seconds: float = NOW

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Now:
    now = Now()
    monkeypatch.setattr("controlplane.cli.ca.time.time", now)
    return now


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "ca"
    assert _ca("init", path).exit_code == 0
    return path


@pytest.fixture
def issuer(folder: Path, clock: Now) -> Issuer:
    return Issuer(CaFolder(folder), "plimsoll.local", 86_400, {}, clock=clock)


@pytest.fixture
async def api(issuer: Issuer) -> AsyncIterator[Served]:
    async with served(issuer=issuer) as here:
        yield here


def _ca(*arguments: object) -> Result:
    return CliRunner().invoke(plimsoll, ["ca", *map(str, arguments)])


def _identity(out: Path, now: float = NOW) -> Identity:
    """Whom a control plane takes the files for; they also fit together."""
    certificate, key, roots = (
        (out / name).read_bytes() for name in ("certificate.pem", "key.pem", "roots.pem")
    )
    checked(Credentials(certificate, key, roots), now)
    return Admission("plimsoll.local").identify(certificate, now)


def test_a_certificate_that_is_issued_is_the_nodes(folder: Path, tmp_path: Path) -> None:
    result = _ca("issue", folder, "web-1", "--out", tmp_path / "web-1", "--json")
    assert result.exit_code == 0
    identity = _identity(tmp_path / "web-1")
    assert identity.node == "web-1"
    assert json.loads(result.output) == {
        "name": "spiffe://plimsoll.local/node/web-1",
        "serial": f"{identity.serial:x}",
        "expires": "2027-04-15T08:00:00Z",
    }


def test_only_the_owner_may_read_a_nodes_key(folder: Path, tmp_path: Path) -> None:
    _ca("issue", folder, "web-1", "--out", tmp_path / "web-1")
    assert stat.S_IMODE((tmp_path / "web-1").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "web-1" / "key.pem").stat().st_mode) == 0o600


def test_the_control_plane_is_no_node(folder: Path, tmp_path: Path) -> None:
    hosts = ("--host", "cp.example", "--host", "10.0.0.1")
    assert _ca("issue", folder, "--control-plane", *hosts, "--out", tmp_path).exit_code == 0
    (leaf, _) = certificates_of((tmp_path / "certificate.pem").read_bytes())
    names = [item.value for item in leaf.extensions[1].value]
    assert [*map(str, names)] == [
        "spiffe://plimsoll.local/control-plane",
        "cp.example",
        "10.0.0.1",
    ]


def test_no_command_prints_a_key_of_the_ca(folder: Path, tmp_path: Path) -> None:
    for arguments in (
        ("issue", folder, "web-1", "--out", tmp_path / "web-1"),
        ("token", folder, "web-1"),
        ("revoke", folder, "web-2"),
        ("rotate", folder),
    ):
        assert "PRIVATE KEY" not in _ca(*arguments).output


def test_a_revoked_node_gets_no_certificate(folder: Path, tmp_path: Path) -> None:
    assert _ca("revoke", folder, "web-1").exit_code == 0
    result = _ca("issue", folder, "web-1", "--out", tmp_path / "web-1")
    assert result.exit_code == 1
    assert "node 'web-1' is revoked" in result.output
    assert not (tmp_path / "web-1").exists()


def test_one_certificate_is_revoked_by_its_serial(folder: Path) -> None:
    assert _ca("revoke", folder, "--serial", "fF").exit_code == 0
    assert CaFolder(folder).load(NOW).revoked.include("web-1", 255)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["init", "{tmp}/new", "--trust-domain", "A/b"], "the trust domain 'A/b' must be"),
        (["init", "{tmp}/ca"], "is not empty"),
        (["issue", "{tmp}/ca", "--out", "{tmp}/x"], "give a NODE, or --control-plane"),
        (["issue", "{tmp}/ca", "a/b", "--out", "{tmp}/x"], "NODE 'a/b'"),
        (["issue", "{tmp}/ca", "a", "--ttl", "soon", "--out", "{tmp}/x"], "--ttl: 'soon'"),
        (["issue", "{tmp}/ca", "a", "--host", "a b", "--out", "{tmp}/x"], "--host 'a b'"),
        (["issue", "{tmp}/ca", "a", "--host", "10.0.0.1:1", "--out", "{tmp}/x"], "--host '10."),
        (["issue", "{tmp}/none", "a", "--out", "{tmp}/x"], "none/intermediate.crt cannot be read"),
        (["token", "{tmp}/ca", "a*b"], "NODE 'a*b' is not a node id"),
        (["token", "{tmp}/ca", ""], "NODE '' is not a node id"),
        (["token", "{tmp}/none", "a"], "none/intermediate.crt cannot be read"),
        (["revoke", "{tmp}/ca"], "give a NODE, or one certificate"),
        (["revoke", "{tmp}/ca", "a", "--serial", "1"], "give a NODE, or one certificate"),
        (["revoke", "{tmp}/ca", "--serial", "xyz"], "--serial 'xyz'"),
        (["revoke", "{tmp}/none", "a"], "none/intermediate.crt cannot be read"),
        (["join", "a", "--out", "{tmp}/x"], "give --join-token"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    folder: Path, tmp_path: Path, arguments: list[str], problem: str
) -> None:
    result = _ca(*(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert result.exit_code != 0
    assert problem in result.output
    assert result.output.count("\n") == 1


def test_a_new_token_sweeps_out_those_that_have_ended(folder: Path, clock: Now) -> None:
    _ca("token", folder, "web-1", "--ttl", "1m")
    clock.seconds += 61
    _ca("token", folder, "web-2")
    assert len([*(folder / "tokens").iterdir()]) == 1


async def test_a_node_joins_with_a_token(api: Served, folder: Path, tmp_path: Path) -> None:
    token = _ca("token", folder, "web-*").output.strip()
    result = await run(
        api, "ca", "join", "web-1", "--join-token", token, "--out", str(tmp_path / "n")
    )
    assert result.exit_code == 0
    assert _identity(tmp_path / "n").node == "web-1"
    again = await run(
        api, "ca", "join", "web-1", "--join-token", token, "--out", str(tmp_path / "m")
    )
    assert again.exit_code == 1
    assert "used already" in again.output
    assert not (tmp_path / "m").exists()


async def test_a_certificate_is_replaced_once_half_of_its_time_is_over_or_when_it_is_said(
    api: Served, issuer: Issuer, folder: Path, tmp_path: Path, clock: Now
) -> None:
    token = _ca("token", folder, "web-1").output.strip()
    join = ("ca", "join", "web-1", "--out", str(tmp_path / "n"))
    await run(api, *join, "--join-token", token)
    first = _identity(tmp_path / "n")
    clock.seconds += 40_000
    result = await run(api, *join)
    assert result.exit_code == 0
    assert "first half" in result.output
    assert _identity(tmp_path / "n") == first
    CaFolder(folder).rotate(clock.seconds)
    issuer.adopt(issuer.read())
    assert (await run(api, *join, "--now")).exit_code == 0
    assert (tmp_path / "n" / "roots.pem").read_bytes() == (folder / "roots.pem").read_bytes()
    assert _identity(tmp_path / "n", clock.seconds).expires == first.expires + 40_000
    clock.seconds += 44_000
    assert (await run(api, *join)).exit_code == 0
    second = _identity(tmp_path / "n", clock.seconds)
    assert second.expires == first.expires + 84_000


async def test_a_token_of_the_api_is_not_needed_to_join(
    folder: Path, tmp_path: Path, clock: Now
) -> None:
    issuer = Issuer(CaFolder(folder), "plimsoll.local", 60, {}, clock=clock)
    token = _ca("token", folder, "web-1").output.strip()
    async with served(issuer=issuer, token="of the API") as api:  # noqa: S106
        join = ("ca", "join", "web-1", "--join-token", token, "--out", str(tmp_path / "n"))
        assert (await run(api, *join)).exit_code == 0


async def test_a_control_plane_without_a_ca_says_so(tmp_path: Path) -> None:
    async with served() as api:
        join = ("ca", "join", "web-1", "--join-token", "x", "--out", str(tmp_path / "n"))
        result = await run(api, *join)
    assert result.exit_code == 1
    assert "identity.ca is not set" in result.output
