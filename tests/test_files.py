"""Whatever a path leads to, reading it ends, and takes no more memory than a bound."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane import files
from controlplane.files import read_file, read_once


def a_pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def a_folder(path: Path) -> Path:
    path.mkdir()
    return path


def a_socket(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
    return path


def a_link_to(device: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.symlink_to(device)
        return path

    return make


def a_sparse_file(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(1 << 40)
    return path


ODD = [
    (a_pipe, "it is a pipe and no regular file"),
    (a_folder, "it is a folder and no regular file"),
    (a_socket, "it is a socket and no regular file"),
    (a_link_to("/dev/zero"), "it is a device and no regular file"),
    (a_link_to("/dev/null"), "it is a device and no regular file"),
    (a_link_to("nowhere"), "No such file or directory"),
    (a_sparse_file, "it is longer than 32000000 bytes"),
]


@pytest.mark.timeout(120)  # It would read for ever, and keep all of it.
@pytest.mark.parametrize(("make", "said"), ODD)
def test_what_is_no_regular_file_is_not_read(
    make: Callable[[Path], Path], said: str, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match=said):
        read_file(make(tmp_path / "odd"))


@pytest.mark.parametrize("read", [read_file, read_once])
def test_a_regular_file_is_read_to_its_end(read: Callable[[Path], bytes], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3_000_000))
    assert read(path) == bytes(3_000_000)


def test_a_pipe_is_read_once_however_its_writer_takes_its_time(tmp_path: Path) -> None:
    pipe = a_pipe(tmp_path / "pipe")

    def write() -> None:
        with pipe.open("wb", buffering=0) as end:
            for part in (b"some", b"thing"):
                end.write(part)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert read_once(pipe) == b"something"
    finally:
        writer.join()


def test_a_pipe_into_which_nobody_writes_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PIPE_SECONDS", 0.05)
    with pytest.raises(OSError, match="nothing more comes through it"):
        read_once(a_pipe(tmp_path / "pipe"))
