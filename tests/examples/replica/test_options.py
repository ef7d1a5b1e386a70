from __future__ import annotations

import argparse

import pytest

from embedding_replica import options

REGISTER = ("--register", "http://127.0.0.1:8080/v1/pools/minilm")


@pytest.mark.parametrize(
    ("text", "size"),
    [("512MiB", 512 * 2**20), ("8GiB", 8 * 2**30), ("1.5 GiB", 3 * 2**29), ("2GB", 2 * 10**9)],
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert options.size(text) == size


@pytest.mark.parametrize("text", ["", "big", "8gigs", "-1GiB", "0GiB", "1e3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no size"):
        options.size(text)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "--port"),
        (["--port", "70000"], "highest port"),
        (["--port", "1", "--max-batch-tokens", "0"], "at least 1"),
        (["--port", "1", "--speed", "0"], "above 0 and at most 1"),
        (["--port", "1", "--speed", "1.1"], "above 0 and at most 1"),
        (["--port", "1", "--speed", "nan"], "above 0 and at most 1"),
        (["--port", "1", "--grace", "-1"], "no number of seconds"),
        (["--port", "1", "--load-seconds", "inf"], "no number of seconds"),
        (["--port", "1", "--gpu-uuid", "GPU-1"], "--gpu-uuid needs --gpu-memory"),
        (["--port", "1", "--register", "127.0.0.1:8080"], "is no pool; write it like http://"),
        (["--port", "1", "--register", "http://h/v1/pools/"], "is no pool; write it like http://"),
        (["--port", "1", "--replica-id", "a"], "need --register"),
        (["--port", "1", *REGISTER, "--ttl", "0.5"], "is not 1 to 3600 seconds"),
        (["--port", "1", *REGISTER, "--ttl", "nan"], "is not 1 to 3600 seconds"),
        (["--port", "1", *REGISTER, "--host", "0.0.0.0"], "give --advertise"),
    ],
)
def test_bad_usage_exits_with_2_and_says_why(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        options.parse(argv)
    assert left.value.code == 2
    assert says in capsys.readouterr().err


def test_blas_gets_one_thread_unless_told_otherwise() -> None:
    assert options.parse(["--port", "1"]).environment()["OPENBLAS_NUM_THREADS"] == "1"
    more = options.parse(["--port", "1", "--threads", "4"])
    assert more.environment()["OPENBLAS_NUM_THREADS"] == "4"


def test_a_replica_that_starts_again_has_the_same_gpu() -> None:
    assert options.gpu_uuid("127.0.0.1", 9001) == options.gpu_uuid("127.0.0.1", 9001)
    assert options.gpu_uuid("127.0.0.1", 9001) != options.gpu_uuid("127.0.0.1", 9002)
