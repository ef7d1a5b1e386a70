"""What goes down, or is gone, is not always a restart."""

from collections.abc import Mapping, Sequence

import pytest

from controlplane.telemetry import PROFILES, History, Window, read
from tests.telemetry.texts import TEI, histogram

VLLM = PROFILES["vllm"]
TRITON = PROFILES["triton"]


def triton(models: Mapping[str, int]) -> str:
    """Each request takes 20 ms."""
    return "".join(
        f'nv_inference_request_success{{model="{name}"}} {count}\n'
        f'nv_inference_request_duration_us{{model="{name}"}} {count * 20_000}\n'
        for name, count in models.items()
    )


def tritons(*texts: Mapping[str, int]) -> tuple[History, Window]:
    history = History()
    windows = [history.add(read(triton(item), TRITON, float(at))) for at, item in enumerate(texts)]
    return history, windows[-1]


def test_a_model_that_is_unloaded_is_no_restart_and_what_it_did_was_done() -> None:
    history, window = tritons(
        {"a": 100, "b": 500}, {"a": 110, "b": 560}, {"a": 120}, {"a": 130},
    )  # fmt: skip
    assert history.generation == 0
    assert (window.samples, window.count) == (30 + 60, 690)
    assert window.latency == pytest.approx(0.02)


def test_a_model_that_is_loaded_anew_counts_from_zero() -> None:
    history, window = tritons(
        {"a": 100, "b": 500}, {"a": 110}, {"a": 120, "b": 7}, {"a": 130, "b": 9},
    )  # fmt: skip
    assert (history.generation, window.samples) == (0, 30 + 9)


def test_a_model_that_was_gone_for_one_reading_counts_on() -> None:
    history, window = tritons(
        {"a": 100, "b": 500}, {"a": 110}, {"a": 120, "b": 520}, {"a": 130, "b": 530},
    )  # fmt: skip
    assert (history.generation, window.samples) == (0, 30 + 30)


def test_one_model_that_begins_anew_is_no_restart() -> None:
    history, window = tritons({"a": 100, "b": 500}, {"a": 110, "b": 4}, {"a": 120, "b": 10})
    assert (history.generation, window.samples) == (0, 20 + 10)


def test_a_server_whose_counters_all_begin_anew_has_restarted() -> None:
    history, window = tritons({"a": 100, "b": 500}, {"a": 110, "b": 510}, {"a": 1, "b": 2})
    assert (history.generation, window.samples) == (1, 0)


def test_a_server_that_says_nothing_after_its_restart_has_restarted_all_the_same() -> None:
    history, window = tritons({"a": 100}, {"a": 110}, {}, {"a": 3}, {"a": 5})
    assert (history.generation, window.samples) == (1, 2)


def test_an_answer_that_is_empty_once_is_no_restart() -> None:
    history, window = tritons({"a": 100}, {}, {"a": 120}, {})
    assert (history.generation, window.samples) == (0, 20)


def test_replicas_of_a_node_that_end_and_begin_leave_what_was_counted() -> None:
    """Each actor of Ray has a WorkerId of its own."""
    family, profile = "ray_serve_deployment_processing_latency_ms", PROFILES["ray-serve"]

    def text(workers: Mapping[str, int]) -> str:
        return "".join(
            histogram(
                {"20.0": n, "+Inf": n}, n * 10.0, family, f'deployment="E",WorkerId="{item}",'
            )
            for item, n in workers.items()
        )

    history = History()
    for at, workers in enumerate(({"x": 100}, {"x": 150}, {"y": 20}, {"y": 60})):
        window = history.add(read(text(workers), profile, float(at)))
    assert (history.generation, window.samples) == (0, 50 + 60)
    assert window.latency == pytest.approx(0.01)


def vllm(count: float, *, started: float | None) -> str:
    family = "vllm:e2e_request_latency_seconds"
    text = histogram({"0.3": count, "+Inf": count}, count * 0.1, family)
    text += f"vllm:prompt_tokens_total {count * 10}\n"
    return text + (f"process_start_time_seconds {started}\n" if started is not None else "")


def asked(answers: Sequence[tuple[float, float | None]]) -> tuple[History, list[Window]]:
    """Count and start of the process that answers, once a second."""
    history = History()
    windows = [
        history.add(read(vllm(count, started=started), VLLM, float(at)))
        for at, (count, started) in enumerate(answers)
    ]
    return history, windows


@pytest.mark.parametrize(
    "starts",
    [
        pytest.param((1000.0, 1200.0), id="started apart"),
        pytest.param((1000.0, 1000.2), id="started together"),
        pytest.param((None, None), id="starts are not told"),
    ],
)
def test_processes_behind_one_port_are_recognised_and_added_up(
    starts: tuple[float | None, float | None],
) -> None:
    one, other = starts
    turns = [(1000.0 + 20 * at, one) if at % 3 else (400.0 + 30 * at, other) for at in range(1, 31)]
    history, windows = asked(turns)
    assert windows[-1].note is not None
    assert "2 processes answer at this address" in windows[-1].note
    assert history.generation <= 2
    # Each is asked often enough: both together are as fast as both together.
    assert windows[-1].rate == pytest.approx(20 + 30, rel=0.25)
    assert windows[-1].latency == pytest.approx(0.1)


def test_a_process_that_is_replaced_is_one_process() -> None:
    old = [(1000.0 + 20 * at, 1000.0) for at in range(10)]
    new = [(20.0 * at, 2000.0) for at in range(100)]
    history, windows = asked([*old, *new])
    assert history.generation == 1
    assert all(window.note is None for window in windows)
    assert windows[-1].rate == pytest.approx(20)


def test_a_process_that_reaches_what_the_one_before_it_had_is_no_second_one() -> None:
    old = [(100.0 + 20 * at, None) for at in range(10)]
    new = [(20.0 * at, None) for at in range(40)]
    history, windows = asked([*old, *new])
    assert history.generation == 1
    assert all(window.note is None for window in windows)
    assert windows[-1].rate == pytest.approx(20)


def test_what_goes_down_in_tokens_alone_is_counted_on() -> None:
    history = History()
    texts = [vllm(100, started=None), vllm(110, started=None)]
    texts.append(texts[-1].replace("prompt_tokens_total 1100", "prompt_tokens_total 50"))
    for at, text in enumerate(texts):
        window = history.add(read(text, VLLM, float(at)))
    assert (history.generation, window.samples) == (0, 10)
    assert window.tokens_in == 100 + 50


def test_a_server_that_reports_negative_tokens_is_not_idle_and_says_so() -> None:
    text = vllm(100, started=None).replace("total 1000", "total -1000")
    got = read(text, VLLM, 0.0)
    assert got.latency is not None
    assert (got.tokens, got.batches) == (None, None)
    assert got.note == (
        "what it says of its batches cannot be true: vllm:prompt_tokens_total is negative"
    )


def test_a_declared_family_without_a_sample_is_an_idle_server() -> None:
    got = read("# HELP te_request_duration x\n# TYPE te_request_duration histogram\n", TEI, 0.0)
    assert got.latency is None
    assert got.note == (
        "te_request_duration is declared and has counted nothing yet: no request so far"
    )
