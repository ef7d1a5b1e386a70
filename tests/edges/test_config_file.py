"""The token file is followed, however it is changed, and a wrong one changes nothing."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from controlplane.edges import config_file
from controlplane.edges.config_file import read_tokens, watch_tokens
from controlplane.settings import Role, SettingsError, Token

A, B = (Token.of(f"a-token-of-{who}", Role.READ, who) for who in ("ann", "bob"))


@dataclass
class Followed:
    """What whoever follows a token file was told.

    Attributes:
        tokens: That are in use.
        problem: Why the file is not, at the last look.
        looks: How many there were.
    """

    tokens: tuple[Token, ...]
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
        async with asyncio.timeout(30):
            while self.looks < seen + 2:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def following(file: Path) -> AsyncIterator[Followed]:
    told = Followed(read_tokens(file))
    watching = asyncio.create_task(watch_tokens(file, told.tokens, told.adopt, told.looked))
    try:
        yield told
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A token file with one token, looked at all the time."""
    monkeypatch.setattr(config_file, "POLL_SECONDS", 0.01)
    tokens = tmp_path / "tokens"
    tokens.write_text(A.line)
    return tokens


async def test_a_file_that_is_written_anew_is_used(file: Path) -> None:
    async with following(file) as told:
        file.write_text(f"{A.line}\n{B.line}\n")
        await told.look()
        assert told.tokens == (A, B)
        file.write_text(f"{B.line}\n")
        await told.look()
        assert told.tokens == (B,)


async def test_a_file_that_another_takes_the_place_of_is_used(file: Path) -> None:
    async with following(file) as told:
        (file.parent / "new").write_text(B.line)
        os.replace(file.parent / "new", file)
        await told.look()
        assert told.tokens == (B,)


async def test_a_link_that_leads_elsewhere_is_used(file: Path) -> None:
    """As Kubernetes changes what it mounts: a link to a folder is replaced."""
    (first := file.parent / "first").mkdir()
    (second := file.parent / "second").mkdir()
    (first / "tokens").write_text(A.line)
    (second / "tokens").write_text(B.line)
    (file.parent / "..data").symlink_to(first)
    file.unlink()
    file.symlink_to("..data/tokens")
    async with following(file) as told:
        (file.parent / "..new").symlink_to(second)
        os.replace(file.parent / "..new", file.parent / "..data")
        await told.look()
        assert told.tokens == (B,)


@pytest.mark.parametrize("wrong", ["", "short", f"{A.line}\nadmin x\n", b"\xff\xfe", None])
async def test_a_file_that_is_wrong_keeps_the_last_good_tokens_and_is_said_once(
    file: Path, wrong: str | bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with following(file) as told:
        if wrong is None:
            file.unlink()
        else:
            file.write_bytes(wrong if isinstance(wrong, bytes) else wrong.encode())
        await told.look()
        await told.look()
        assert (told.tokens, told.adopted) == ((A,), [])
        assert told.problem is not None
        assert [it.levelname for it in caplog.records] == ["ERROR"]
        assert str(file) in caplog.messages[0]
        file.write_text(A.line)
        await told.look()
        assert (told.problem, told.adopted) == (None, [])
        assert caplog.messages[1:] == [f"token_file {file} is as it was"]


async def test_a_file_that_was_wrong_and_is_another_one_is_used(file: Path) -> None:
    async with following(file) as told:
        file.write_text("short")
        await told.look()
        file.write_text(B.line)
        await told.look()
        assert (told.problem, told.tokens) == (None, (B,))


def test_what_is_wrong_is_said_without_what_the_file_holds(file: Path) -> None:
    file.write_text("sesame")
    with pytest.raises(SettingsError) as raised:
        read_tokens(file)
    assert "sesame" not in str(raised.value)
