"""Token file and config file are followed, however they change, and a wrong one changes nothing."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from controlplane import config as configs
from controlplane import config_file
from controlplane.config import Role, SettingsError, Token, XdsTlsSettings
from controlplane.config_file import read_config, tls_source, token_source, watch_source
from controlplane.fleet import Refused
from controlplane.identity import CertificateError, Credentials
from tests.certificates import Authority
from tests.processes import DEADLINE

A, B = (Token.of(f"a-token-of-{who}", Role.READ, who) for who in ("ann", "bob"))


@dataclass
class Followed:
    """What whoever follows a token file was told.

    Attributes:
        tokens: That are in use.
        problem: Why the file is not, at the last look.
        looks: How many there were.
    """

    tokens: Sequence[Token]
    problem: str | None = None
    looks: int = 0
    adopted: list[tuple[Token, ...]] = field(default_factory=list)

    def adopt(self, tokens: tuple[Token, ...]) -> None:
        self.tokens = tokens
        self.adopted.append(tokens)

    def looked(self, problem: str | None) -> None:
        self.problem, self.looks = problem, self.looks + 1

    async def look(self) -> None:
        """Wait for two looks: the first may have begun before the file was changed."""
        seen = self.looks
        async with asyncio.timeout(DEADLINE):
            while self.looks < seen + 2:
                await asyncio.sleep(0.005)


@dataclass(frozen=True)
class TokenFile:
    """A token file that somebody changes."""

    path: Path

    def write(self, *tokens: Token) -> None:
        """In place: whoever looks just then sees it empty."""
        self.path.write_text("".join(f"{token.line}\n" for token in tokens))

    def put(self, content: str | bytes) -> None:
        """Put another file in its place."""
        new = self.path.with_name("new")
        new.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.replace(new, self.path)

    def delete(self) -> None:
        self.path.unlink()

    def link(self, *tokens: Token) -> None:
        """Have it lead to another folder, as Kubernetes changes what it mounts."""
        folder = self.path.with_name(f"data-{len(tokens)}")
        folder.mkdir()
        TokenFile(folder / self.path.name).write(*tokens)
        self.path.with_name("..new").symlink_to(folder)
        os.replace(self.path.with_name("..new"), self.path.with_name("..data"))
        if not self.path.is_symlink():
            self.path.unlink()
            self.path.symlink_to(f"..data/{self.path.name}")


@asynccontextmanager
async def following(file: TokenFile) -> AsyncIterator[Followed]:
    source = token_source(file.path)
    known = source.read()
    told = Followed(known)
    watching = asyncio.create_task(watch_source(source, known, told.adopt, told.looked))
    try:
        yield told
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TokenFile:
    """A token file with one token, looked at all the time."""
    monkeypatch.setattr(config_file, "POLL_SECONDS", 0.01)
    tokens = TokenFile(tmp_path / "tokens")
    tokens.write(A)
    return tokens


async def test_a_file_that_is_written_anew_is_used(file: TokenFile) -> None:
    async with following(file) as told:
        file.write(A, B)
        await told.look()
        assert list(told.tokens) == [A, B]
        file.write(B)
        await told.look()
        assert list(told.tokens) == [B]


async def test_a_file_that_another_takes_the_place_of_is_used(file: TokenFile) -> None:
    async with following(file) as told:
        file.put(B.line)
        await told.look()
        assert list(told.tokens) == [B]


async def test_a_link_that_leads_elsewhere_is_used(file: TokenFile) -> None:
    file.link(A)
    async with following(file) as told:
        file.link(A, B)
        await told.look()
        assert list(told.tokens) == [A, B]


@pytest.mark.parametrize("wrong", ["", "short", f"{A.line}\nadmin x\n", b"\xff\xfe", None])
async def test_a_file_that_is_wrong_keeps_the_last_good_tokens_and_is_said_once(
    file: TokenFile, wrong: str | bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with following(file) as told:
        if wrong is None:
            file.delete()
        else:
            file.put(wrong)
        await told.look()
        await told.look()
        assert (told.tokens, told.adopted, told.problem is None) == ((A,), [], False)
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert str(file.path) in caplog.messages[0]
        file.put(A.line)
        await told.look()
        assert (told.problem is None, told.adopted) == (True, [])
        assert caplog.messages[1:] == [f"token_file {file.path} is valid again, without a change"]


async def test_a_file_that_was_wrong_and_is_another_one_is_used(file: TokenFile) -> None:
    async with following(file) as told:
        file.put("short")
        await told.look()
        file.write(B)
        await told.look()
        assert (told.problem, told.tokens) == (None, (B,))


def test_what_is_wrong_is_said_without_what_the_file_holds(file: TokenFile) -> None:
    file.put("sesame")
    with pytest.raises(SettingsError) as raised:
        token_source(file.path).read()
    assert "sesame" not in str(raised.value)


POOL = "pools: [{name: m, model: m, listener: {address: '127.0.0.1:10000'}, replicas: [%s]}]"


@dataclass
class Config:
    """A config file that somebody changes, and what became of it.

    Attributes:
        refuses: Why what is read is not taken; None: it is.
        asked: How often something was to be taken.
        problem: Why what the file says is not used, as it was told last.
    """

    path: Path
    refuses: str | None = None
    asked: int = 0
    problem: str | None = None
    adopted: list[int] = field(default_factory=list)
    reread: asyncio.Event = field(default_factory=asyncio.Event)

    def text(self, replicas: int) -> str:
        said = (f"{{id: r{n}, address: '127.0.0.1:{n}'}}" for n in range(1, replicas + 1))
        return POOL % ", ".join(said)

    def write(self, replicas: int) -> None:
        beside = self.path.with_name("new")
        beside.write_text(self.text(replicas))
        beside.replace(self.path)

    async def adopt(self, config: configs.Config) -> None:
        self.asked += 1
        if self.refuses is not None:
            raise Refused("conflict", self.refuses)
        self.adopted.append(len(config.pools[0].replicas))

    def looked(self, problem: str | None) -> None:
        self.problem = problem

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not what():
                await asyncio.sleep(0.005)


@pytest.fixture
async def changed_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Config]:
    monkeypatch.setattr(config_file, "POLL_SECONDS", 0.01)
    here = Config(tmp_path / "plimsoll.yaml")
    here.write(1)
    known = read_config(here.path)
    # Before anybody looks for changes: while the store is opened, say.
    here.write(2)
    task = asyncio.create_task(
        config_file.watch(here.path, known, here.adopt, here.looked, here.reread)
    )
    yield here
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_config_that_changed_while_we_started_is_used(changed_config: Config) -> None:
    await changed_config.until(lambda: changed_config.adopted == [2])


async def test_a_config_that_was_refused_is_tried_again_and_told_of_once(
    changed_config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    changed_config.refuses = "the API has something against it"
    await changed_config.until(lambda: changed_config.asked > 3)
    assert changed_config.problem == "the API has something against it"
    changed_config.refuses = None
    await changed_config.until(lambda: changed_config.adopted == [2])
    assert changed_config.problem is None
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert said == [
        "the changed config file is ignored, the previous one applies: the API has something"
        " against it"
    ]


async def test_a_config_that_is_wrong_is_told_of_once_and_may_come_back(
    changed_config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await changed_config.until(lambda: changed_config.adopted == [2])
    changed_config.path.write_text("pools: [")
    await changed_config.until(lambda: changed_config.problem is not None)
    assert "is ignored" in caplog.text
    changed_config.write(2)
    await changed_config.until(lambda: changed_config.problem is None)
    assert "is valid again" in caplog.text
    assert (changed_config.adopted, changed_config.problem) == ([2], None)


async def test_a_config_is_used_once_two_looks_have_found_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_file, "POLL_SECONDS", 0.0)
    here = Config(tmp_path / "plimsoll.yaml")
    here.write(1)
    known = read_config(here.path)
    # What each look finds: a file that is written bit by bit, each of which could be used.
    found = [here.text(count).encode() for count in (2, 3, 4, 4, 5, 1)]
    found += [found[-1]] * 2
    looks = iter(found)
    monkeypatch.setattr(config_file, "_content", lambda _: next(looks, found[-1]))
    task = asyncio.create_task(config_file.watch(here.path, known, here.adopt, here.looked))
    await here.until(lambda: here.adopted == [4, 1])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_config_is_read_at_once_when_somebody_asks(
    changed_config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await changed_config.until(lambda: changed_config.adopted == [2])
    monkeypatch.setattr(config_file, "POLL_SECONDS", 3600.0)
    await asyncio.sleep(0.1)  # The wait that was under way.
    changed_config.write(3)
    changed_config.reread.set()
    await changed_config.until(lambda: changed_config.adopted == [2, 3])
    changed_config.path.write_text("pools: [")
    changed_config.reread.set()
    await changed_config.until(lambda: changed_config.problem is not None)
    changed_config.reread.set()
    await changed_config.until(lambda: caplog.text.count("is ignored") == 2)
    assert changed_config.problem is not None


@pytest.mark.parametrize("odd", ["pipe", "/dev/zero", "/dev/null", "folder", "empty", None])
async def test_a_config_in_whose_place_something_odd_comes_keeps_the_last_good_one(
    changed_config: Config, odd: str | None
) -> None:
    await changed_config.until(lambda: changed_config.adopted == [2])
    changed_config.refuses = "no pool may go"
    path = changed_config.path
    path.unlink()
    match odd:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "empty":
            path.touch()
        case str():
            path.symlink_to(odd)
    await changed_config.until(lambda: changed_config.problem is not None)
    assert changed_config.adopted == [2]
    changed_config.refuses = None
    if odd == "folder":
        path.rmdir()
    changed_config.write(3)
    await changed_config.until(lambda: changed_config.adopted == [2, 3])


async def test_a_config_that_came_through_a_pipe_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(config_file, "POLL_SECONDS", 0.0)
    here = Config(tmp_path / "plimsoll.yaml")
    os.mkfifo(here.path)
    writing = asyncio.to_thread(here.path.write_text, here.text(2))
    known, _ = await asyncio.gather(asyncio.to_thread(read_config, here.path), writing)
    assert len(known.pools[0].replicas) == 2
    task = asyncio.create_task(config_file.watch(here.path, known, here.adopt, here.looked))
    await here.until(lambda: "is a pipe" in caplog.text)
    await asyncio.sleep(0.05)
    assert (here.asked, here.problem, task.done()) == (0, None, False)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_certificate_that_expires_where_it_is_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(config_file, "POLL_SECONDS", 0.01)
    authority, now = Authority(), [time.time()]
    monkeypatch.setattr("controlplane.config_file.time.time", lambda: now[0])
    authority.write(tmp_path)
    authority.server().write(tmp_path, "api")
    files = {"certificate": "api.pem", "key": "api-key.pem", "client_ca": "ca.pem"}
    settings = XdsTlsSettings.model_validate(files)
    source = tls_source("xds.tls", settings, tmp_path, lambda _: None)
    known = source.read()
    said: list[str | None] = []
    adopted: list[Credentials] = []
    task = asyncio.create_task(watch_source(source, known, adopted.append, said.append))
    try:
        async with asyncio.timeout(DEADLINE):
            while not said:
                await asyncio.sleep(0.01)
            assert not any(said)
            now[0] = 1e11
            while not any(said):
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
    assert not adopted
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "xds.tls: certificate expired at " in record.getMessage()


async def test_certificates_that_cannot_be_served_with_keep_the_old_ones(tmp_path: Path) -> None:
    authority = Authority()
    authority.write(tmp_path)
    good = authority.server()
    files = {"certificate": "api.pem", "key": "api-key.pem", "client_ca": "ca.pem"}
    settings = XdsTlsSettings.model_validate(files)
    good.write(tmp_path, "api")
    is_taken = True

    def attempt(_: Credentials) -> None:
        if not is_taken:
            raise CertificateError("it does not fit")

    source = tls_source("xds.tls", settings, tmp_path, attempt)
    known = source.read()
    said: list[str | None] = []
    adopted: list[Credentials] = []
    task = asyncio.create_task(watch_source(source, known, adopted.append, said.append))
    try:
        async with asyncio.timeout(DEADLINE):
            is_taken = False
            authority.server().write(tmp_path, "api")
            while "xds.tls: it does not fit" not in said:
                await asyncio.sleep(0.01)
            assert not adopted
            is_taken = True
            better = authority.server()
            better.write(tmp_path, "api")
            while [item.certificate for item in adopted] != [better.certificate]:
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
