"""The folder of a certificate authority: join tokens, revocations, and the steps of a rotation."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from controlplane.ca.certificates import Authority, CaError, KeyPair, certificates_of
from controlplane.ca.folder import CaFolder

NOW = 1_800_000_000.0
DOMAIN = "mesh.example"


@pytest.fixture
def folder(tmp_path: Path) -> CaFolder:
    made = CaFolder(tmp_path / "ca")
    made.create(DOMAIN, NOW)
    return made


def _outcome(folder: CaFolder, token: str, node: str = "a", now: float = NOW) -> str:
    try:
        folder.redeem(token, node, now)
    except CaError as error:
        return str(error)
    return "redeemed"


def test_only_the_owner_may_read_what_is_made(folder: CaFolder) -> None:
    folder.add_token("a", NOW + 60)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in folder.path.rglob("*")}
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


def test_a_folder_with_something_in_it_is_left_alone(folder: CaFolder) -> None:
    with pytest.raises(CaError, match="is not empty"):
        folder.create(DOMAIN, NOW)


def test_what_was_made_can_be_loaded(folder: CaFolder) -> None:
    content = folder.load(NOW)
    assert content.authority.trust_domain == DOMAIN
    assert content.authority.is_signed_by(certificates_of(content.roots)[0])


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("intermediate.crt", None, "intermediate.crt cannot be read"),
        ("intermediate.crt", "nonsense", "not a certificate with its key"),
        ("intermediate.key", "nonsense", "not a certificate with its key"),
        ("roots.pem", "nonsense", "roots.pem holds no certificates"),
        ("revoked.txt", "nodes a", "revoked.txt:1 must be"),
        ("revoked.txt", "serial xyz", "revoked.txt:1 must be"),
    ],
)
def test_a_wrong_file_is_named(
    folder: CaFolder, file: str, content: str | None, problem: str
) -> None:
    if content is None:
        (folder.path / file).unlink()
    else:
        (folder.path / file).write_text(content)
    with pytest.raises(CaError, match=problem):
        folder.load(NOW)


def test_a_key_that_everybody_may_read_is_refused(folder: CaFolder) -> None:
    (folder.path / "intermediate.key").chmod(0o644)
    with pytest.raises(CaError, match="may be read by everybody"):
        folder.load(NOW)


def test_an_intermediate_that_the_trusted_roots_did_not_sign_is_refused(
    folder: CaFolder, tmp_path: Path
) -> None:
    other = CaFolder(tmp_path / "other")
    other.create(DOMAIN, NOW)
    (folder.path / "roots.pem").write_bytes((other.path / "roots.pem").read_bytes())
    with pytest.raises(CaError, match="signed by none of the roots"):
        folder.load(NOW)


def test_an_intermediate_that_has_expired_is_refused(folder: CaFolder) -> None:
    with pytest.raises(CaError, match="has expired"):
        folder.load(NOW + 20 * 365 * 86_400)


def test_a_token_is_good_once(folder: CaFolder) -> None:
    token = folder.add_token("a", NOW + 60)
    assert _outcome(folder, token) == "redeemed"
    assert "used already" in _outcome(folder, token)


def test_of_many_that_use_a_token_together_one_succeeds(folder: CaFolder) -> None:
    token = folder.add_token("a", NOW + 60)
    with ThreadPoolExecutor(16) as pool:
        outcomes = [*pool.map(lambda _: _outcome(folder, token), range(64))]
    assert outcomes.count("redeemed") == 1


def test_a_token_ends(folder: CaFolder) -> None:
    token = folder.add_token("a", NOW + 60)
    assert "has ended" in _outcome(folder, token, now=NOW + 60)
    assert "has ended" in _outcome(folder, token, now=NOW), "it is gone"


def test_a_token_is_for_its_node_and_stays_good_for_it(folder: CaFolder) -> None:
    token = folder.add_token("edge-*", NOW + 60)
    assert "is not for a node 'gpu-1'" in _outcome(folder, token, "gpu-1")
    assert _outcome(folder, token, "edge-7") == "redeemed"


def test_the_folder_does_not_hold_the_token(folder: CaFolder) -> None:
    token = folder.add_token("a", NOW + 60)
    for path in folder.path.rglob("*"):
        assert token not in path.name
        assert path.is_dir() or token.encode() not in path.read_bytes()


@pytest.mark.parametrize("token", ["", "../revoked.txt", "\udcff", "x" * 100_000])
def test_what_is_no_token_is_unknown(folder: CaFolder, token: str) -> None:
    assert "unknown" in _outcome(folder, token)


def test_tokens_that_have_ended_are_swept_out(folder: CaFolder) -> None:
    folder.add_token("a", NOW + 60)
    kept = folder.add_token("b", NOW + 120)
    folder.forget_tokens(NOW + 90)
    assert len(os.listdir(folder.path / "tokens")) == 1
    assert _outcome(folder, kept, "b", NOW + 90) == "redeemed"


def test_nodes_and_serials_are_revoked(folder: CaFolder) -> None:
    assert not folder.load(NOW).revoked.include("a", 255)
    folder.revoke(node="a")
    folder.revoke(serial=255)
    revoked = folder.load(NOW).revoked
    assert revoked.include("a", 1)
    assert revoked.include("b", 255)
    assert not revoked.include("b", 254)


def test_a_revocation_counts_whatever_an_editor_left_at_the_end_of_the_file(
    folder: CaFolder,
) -> None:
    for content in ("", "# mine", "node a", "node a\n"):
        (folder.path / "revoked.txt").write_text(content)
        folder.revoke(node="b")
        assert folder.load(NOW).revoked.include("b")


def test_what_was_read_twice_is_equal_until_something_changes(folder: CaFolder) -> None:
    before = folder.load(NOW)
    assert folder.load(NOW) == before
    folder.revoke(node="a")
    assert folder.load(NOW) != before
    assert folder.load(NOW).authority == before.authority
    assert all(file.is_file() for file in folder.files)


def test_a_rotation_trusts_the_new_root_before_it_issues_and_the_old_one_after(
    folder: CaFolder,
) -> None:
    def trusted_and_issuing() -> tuple[int, str]:
        content = folder.load(NOW)
        subject = content.authority.certificate.subject.rfc4514_string()
        return len(certificates_of(content.roots)), subject

    trusted, old = trusted_and_issuing()
    assert trusted == 1
    folder.rotate(NOW)
    assert trusted_and_issuing() == (2, old)
    folder.rotate(NOW)
    trusted, new = trusted_and_issuing()
    assert trusted == 2
    assert new != old
    folder.rotate(NOW)
    assert trusted_and_issuing() == (1, new)
    root = certificates_of(folder.load(NOW).roots)[0]
    pair = KeyPair(*((folder.path / f"root.{end}").read_bytes() for end in ("crt", "key")))
    assert Authority(pair).certificate == root
    folder.rotate(NOW)
    assert trusted_and_issuing() == (2, new), "and it begins again"


def test_a_leaf_of_each_step_is_trusted_in_the_steps_beside_it(folder: CaFolder) -> None:
    steps = [folder.load(NOW)]
    for _ in range(3):
        folder.rotate(NOW)
        steps.append(folder.load(NOW))
    for before, after in pairwise(steps):
        for issuing, trusting in ((before, after), (after, before)):
            roots = certificates_of(trusting.roots)
            assert any(issuing.authority.is_signed_by(root) for root in roots)


@pytest.mark.parametrize("gone", ["root.key", "intermediate.key"])
def test_a_step_of_a_rotation_that_was_cut_off_is_taken_again(folder: CaFolder, gone: str) -> None:
    folder.rotate(NOW)
    # One of the files was in place when the step was cut off, or is kept elsewhere.
    (folder.path / "next" / gone).replace(folder.path / gone)
    folder.rotate(NOW)
    new = folder.load(NOW).authority
    folder.rotate(NOW)
    assert folder.load(NOW).authority == new


def test_an_intermediate_that_has_expired_is_replaced_by_a_rotation(folder: CaFolder) -> None:
    later = folder.load(NOW).authority.expires + 1
    for _ in range(3):
        folder.rotate(later)
    assert folder.load(later).authority.expires > later
