"""Every known server, read from an exposition of its own format: what counts, in which unit."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from controlplane.config import (
    SERVERS,
    CountFamily,
    LatencyFamily,
    MemoryFamily,
    MemoryTotalFamily,
    MetricsSettings,
    ProfileName,
    QueueFamily,
)
from controlplane.telemetry import (
    PROFILES,
    ExpositionError,
    History,
    Profile,
    Reading,
    profile_of,
    read,
)
from controlplane.telemetry.histogram import quantile

EXPOSITIONS = Path(__file__).parent / "expositions"


def exposed(server: str) -> str:
    return (EXPOSITIONS / f"{server}.txt").read_text()


def reading(settings: MetricsSettings, text: str | None = None) -> Reading:
    return read(text or exposed(settings.profile), profile_of(settings), 0.0)


@dataclass(frozen=True)
class Said:
    """What an exposition says, in our units; no count where it has no durations."""

    count: float | None
    mean: float
    resolution: str
    queue: float | None = None
    running: float | None = None
    errors: float | None = None
    memory: tuple[tuple[str | None, float], ...] = ()
    tokens: float | None = None


SAID: dict[ProfileName, Said] = {
    "tei": Said(1000, 0.0188, "ok", queue=3, errors=5, tokens=121600),
    "infinity": Said(1000, 0.08, "ok", errors=10),
    "vllm": Said(1000, 0.042, "first bucket", queue=4, running=7, tokens=98213),
    "sglang": Said(1000, 0.4, "ok", queue=28, running=16, tokens=8128902),
    "triton": Said(
        1200, 0.05, "last bucket", queue=7, errors=4,
        memory=(("GPU-4b0b1c4e-1a7b-9c7d-0d2f-7e3f8e0c2f11", 0.5),),
    ),
    "nim": Said(
        1000, 0.04, "ok", queue=2, running=6, memory=((None, 0.25), (None, 0.75)), tokens=64000,
    ),
    "ovms": Said(1000, 0.013, "ok", running=9, errors=4),
    "xinference": Said(
        1000, 0.05, "ok", running=5, errors=2, memory=((None, 1 / 6), (None, 5 / 6)),
    ),
    "ray-serve": Said(1050, 0.165 / 1.05, "ok", queue=9, running=3, errors=6),
    "bentoml": Said(1000, 0.05, "ok", running=3, errors=5),
    "localai": Said(1000, 0.05, "first bucket"),
    "ray-llm": Said(1000, 0.06, "ok", queue=2, running=5, tokens=120000),
    "llama-cpp": Said(None, 0.0, "ok", queue=3, running=4, tokens=51200),
    "lmdeploy": Said(1000, 0.09, "ok", queue=5, running=8, tokens=90000),
    "torchserve": Said(1000, 0.03, "last bucket", errors=3),
    "tf-serving": Said(1000, 0.04, "ok", errors=6),
    "kserve": Said(1000, 0.024, "ok"),
    "mosec": Said(1000, 0.025, "ok", running=6, errors=8),
}  # fmt: skip


@pytest.mark.parametrize("server", SAID)
def test_a_servers_exposition_is_read_in_seconds_and_bytes(server: ProfileName) -> None:
    got = reading(MetricsSettings(profile=server))
    said = SAID[server]
    if said.count is None:
        assert got.latency is None
    else:
        assert got.latency is not None
        assert got.latency.count == said.count
        assert got.latency.total / got.latency.count == pytest.approx(said.mean)
        p99 = quantile(0.99, got.latency.bounds, got.latency.counts)
        assert p99 is not None
        assert p99[1] == said.resolution
    assert (got.queue, got.running, got.errors) == (said.queue, said.running, said.errors)
    assert got.tokens == said.tokens
    assert [gpu.uuid for gpu in got.memory] == [uuid for uuid, _ in said.memory]
    assert [gpu.fraction for gpu in got.memory] == pytest.approx([part for _, part in said.memory])


def test_every_profile_has_an_exposition_and_a_place_where_its_server_answers() -> None:
    assert set(SAID) == set(PROFILES)
    assert set(get_args(ProfileName)) == set(SERVERS) == {*PROFILES, "prometheus", "none"}


@pytest.mark.parametrize("server", SAID)
def test_no_servers_exposition_is_taken_for_that_of_another(server: str) -> None:
    like = {
        name for name, profile in PROFILES.items()
        if read(exposed(server), profile, 0.0).latency is not None
    }  # fmt: skip
    # Some releases of NIM expose what Triton or vLLM does, as it comes.
    without_durations = {name for name, profile in PROFILES.items() if not profile.latency}
    assert like - {"nim"} == {server} - {"nim"} - without_durations


def test_a_servers_health_checks_do_not_make_it_look_fast() -> None:
    counted: dict[ProfileName, str] = {
        "infinity": "/health", "bentoml": "/readyz", "localai": "/readyz",
    }  # fmt: skip
    for server, path in counted.items():
        assert path in exposed(server)
        got = reading(MetricsSettings(profile=server))
        assert got.latency is not None
        assert got.latency.total / got.latency.count >= 0.05


@pytest.mark.parametrize(
    ("server", "labels", "count", "queue"),
    [
        ("triton", {"model": "minilm"}, 1000, 5),
        ("ray-serve", {"deployment": "Chat"}, 50, 1),
        ("vllm", {"model_name": "*bge-m3"}, 1000, 4),
        ("tei", {"model": "absent"}, None, None),
    ],
)
def test_labels_narrow_a_server_to_one_of_its_models(
    server: ProfileName, labels: dict[str, str], count: float | None, queue: float | None
) -> None:
    got = reading(MetricsSettings(profile=server, labels=labels))
    assert (got.latency.count if got.latency else None, got.queue) == (count, queue)


def test_narrowed_to_a_model_a_server_still_tells_of_its_gpu() -> None:
    assert reading(MetricsSettings(profile="triton", labels={"model": "minilm"})).memory


def test_a_label_that_is_asked_for_replaces_what_the_profile_asks_of_it() -> None:
    got = reading(MetricsSettings(profile="bentoml", labels={"endpoint": "/readyz"}))
    assert got.latency is not None
    assert got.latency.count == 30070


def test_of_two_counters_the_mean_is_known_and_no_p99_and_the_reading_says_so() -> None:
    got = reading(MetricsSettings(profile="triton"))
    assert got.note == (
        "nv_inference_request_duration_us has no distribution: the mean stands for the p99;"
        " the requests of 2 values of model are added up: minilm, reranker"
        " (metrics: {labels: {model: NAME}} counts one alone)"
    )
    history = History()
    history.add(read(exposed("triton"), PROFILES["triton"], 0.0))
    later = (
        exposed("triton").replace("} 20000000\n", "} 23000000\n").replace("} 1000\n", "} 1100\n")
    )
    window = history.add(read(later, PROFILES["triton"], 5.0))
    assert window.rate == pytest.approx(20)
    assert window.latency == pytest.approx(0.03)
    assert (window.p99, window.resolution) == (None, "last bucket")


@pytest.mark.parametrize(
    ("server", "old", "new"),
    [
        ("triton", "nv_inference_request_success{", "other{"),
        ("triton", "nv_inference_request_duration_us{", "other{"),
    ],
)
def test_half_of_a_pair_of_counters_is_refused(server: str, old: str, new: str) -> None:
    with pytest.raises(ExpositionError, match="is there without"):
        read(exposed(server).replace(old, new), PROFILES[server], 0.0)


def test_a_pair_of_counters_that_goes_down_is_a_restart() -> None:
    history = History()
    history.add(read(exposed("triton"), PROFILES["triton"], 0.0))
    text = exposed("triton").replace("} 1000\n", "} 3\n").replace("} 20000000\n", "} 60000\n")
    text = text.replace("} 200\n", "} 2\n").replace("} 40000000\n", "} 40000\n")
    window = history.add(read(text, PROFILES["triton"], 5.0))
    assert (history.generation, window.samples) == (1, 0)


def test_a_graph_that_has_counted_nothing_leaves_ovms_to_its_models() -> None:
    def told(line: str) -> str:
        series, _, value = line.rpartition(" ")
        graph = series.startswith("ovms_graph_processing_time_us")
        model = series.startswith("ovms_request_time_us")
        return f"{series} {0 if graph else 70 if model else value}"

    got = reading(
        MetricsSettings(profile="ovms"),
        "".join(f"{told(line)}\n" for line in exposed("ovms").splitlines() if line[0] != "#"),
    )
    assert got.latency is not None
    assert got.latency.count == 140


def test_a_fresh_server_that_lacks_its_latency_says_which_family_is_missing() -> None:
    got = reading(MetricsSettings(profile="ovms"), "ovms_current_graphs 0\n")
    assert got.latency is None
    assert "ovms_graph_processing_time_us or ovms_request_time_us" in (got.note or "")


SUMMARY = """\
# TYPE d summary
d{path="/a",quantile="0.99"} 900
d_sum{path="/a"} 4000
d_count{path="/a"} 100
d{path="/b",quantile="0.99"} NaN
d_sum{path="/b"} 6000
d_count{path="/b"} 100
"""


def summary() -> Profile:
    latency = LatencyFamily(family="d", kind="summary", unit="ms")
    return profile_of(MetricsSettings(profile="prometheus", latency=latency))


def test_a_summarys_sums_and_counts_are_added_and_its_quantiles_left_out() -> None:
    got = read(SUMMARY, summary(), 0.0)
    assert got.latency is not None
    assert (got.latency.count, got.latency.total) == (200, 10.0)
    assert quantile(0.99, got.latency.bounds, got.latency.counts) == (None, "last bucket")


def test_a_summary_with_a_negative_count_is_refused() -> None:
    with pytest.raises(ExpositionError, match="d_count is negative"):
        read(SUMMARY.replace('d_count{path="/a"} 100', 'd_count{path="/a"} -1'), summary(), 0.0)


def test_a_counter_that_is_not_a_number_is_missing() -> None:
    text = "d_seconds_total NaN\nd_requests_total 3\n"
    latency = LatencyFamily(family="d_seconds", kind="counters", count="d_requests")
    profile = profile_of(MetricsSettings(profile="prometheus", latency=latency))
    with pytest.raises(ExpositionError, match="d_requests is there without d_seconds"):
        read(text, profile, 0.0)
    got = read(text.replace("NaN", "6"), profile, 0.0)
    assert got.latency is not None
    assert (got.latency.count, got.latency.total) == (3, 6)


def test_a_users_own_families_may_have_any_unit_that_fits() -> None:
    settings = MetricsSettings(
        profile="prometheus",
        latency=LatencyFamily(family="d", kind="counters", count="n", unit="us"),
        memory_used=MemoryFamily(family="used", unit="MiB", gpu_label="gpu"),
        memory_total=MemoryTotalFamily(family="used", plus=("free", "kept"), unit="MiB"),
        queue=QueueFamily(family="q", labels={"state": "!done"}),
        running=QueueFamily(family="r"),
        errors=CountFamily(family="e", labels={"code": "5*"}),
    )
    text = (
        'd 5e6\nn 100\nused{gpu="G"} 1\nfree{gpu="G"} 2\nkept{gpu="G"} 1\n'
        'q{state="done"} 9\nq{state="new"} 2\nr 1\ne_total{code="500"} 3\ne_total{code="404"} 8\n'
    )
    got = read(text, profile_of(settings), 0.0)
    assert got.latency is not None
    assert got.latency.total / got.latency.count == pytest.approx(0.05)
    assert [(gpu.uuid, gpu.used, gpu.fraction) for gpu in got.memory] == [("G", 2**20, 0.25)]
    assert (got.queue, got.running, got.errors) == (2, 1, 3)


def test_a_total_of_which_a_part_is_missing_is_unknown() -> None:
    settings = MetricsSettings(
        profile="prometheus",
        latency=LatencyFamily(family="d"),
        memory_used=MemoryFamily(family="used"),
        memory_total=MemoryTotalFamily(family="used", plus=("free",)),
    )
    assert read("used 5\n", profile_of(settings), 0.0).memory == ()


def test_a_gpu_that_is_only_numbered_is_not_taken_for_that_of_another_node() -> None:
    assert {gpu.uuid for gpu in reading(MetricsSettings(profile="xinference")).memory} == {None}


def test_buckets_in_other_units_are_scaled_with_their_sum() -> None:
    got = reading(MetricsSettings(profile="ovms"))
    assert got.latency is not None
    assert got.latency.bounds[0] == pytest.approx(10e-6)
    assert got.latency.bounds[-1] == math.inf


def test_profile_none_has_no_families() -> None:
    with pytest.raises(ValueError, match="is not scraped"):
        profile_of(MetricsSettings(profile="none"))


@pytest.mark.parametrize(
    "said",
    [
        {"profile": "vllm"},
        {"profile": "vllm", "labels": {"model_name": "a"}},
        {"profile": "prometheus", "latency": {"family": "d"}},
    ],
)
def test_what_a_profile_has_worked_out_it_knows_at_the_next_scrape(said: dict[str, Any]) -> None:
    first, again = (profile_of(MetricsSettings.model_validate(said)) for _ in range(2))
    assert again is first


@pytest.mark.parametrize("prefix", ["sglang_", "ray_sglang_"])
def test_sglang_is_read_under_each_of_its_names(prefix: str) -> None:
    text = exposed("sglang").replace("sglang:", prefix)
    assert reading(MetricsSettings(profile="sglang"), text) == reading(
        MetricsSettings(profile="sglang")
    )


def test_what_clients_of_lmdeploy_cancelled_is_no_error_of_the_replica() -> None:
    text = exposed("lmdeploy")
    assert "lmdeploy:num_requests_failed{" in text
    assert reading(MetricsSettings(profile="lmdeploy"), text).errors is None


def test_what_a_client_got_wrong_makes_no_replica_of_bentoml_look_fast() -> None:
    text = exposed("bentoml")
    wrong = "".join(
        line.replace('"200"', '"400"') + "\n"
        for line in text.splitlines()
        if '"/encode",http_response_code="200"' in line
    )
    assert "duration_seconds_count" in wrong
    settings = MetricsSettings(profile="bentoml")
    got, right = reading(settings, text + wrong), reading(settings, text)
    assert (got.latency, got.errors) == (right.latency, right.errors)


@pytest.mark.parametrize("status", ["5xx", "500", "503"])
def test_infinity_counts_errors_whether_or_not_statuses_are_grouped(status: str) -> None:
    text = exposed("infinity").replace('status="5xx"', f'status="{status}"')
    assert reading(MetricsSettings(profile="infinity"), text).errors == 10
