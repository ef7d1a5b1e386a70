import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from controlplane.config import LatencyFamily, MemoryFamily, MetricsSettings
from controlplane.telemetry import (
    PROFILES,
    ExpositionError,
    Profile,
    Source,
    profile_of,
    read,
)
from controlplane.telemetry.exposition import MAX_LINES, MAX_SAMPLES, parse
from tests.telemetry.test_servers import exposed
from tests.telemetry.texts import TEI, histogram, tei


def refused(text: str, because: str, profile: Profile = TEI) -> None:
    with pytest.raises(ExpositionError, match=re.escape(because)):
        read(text, profile, 0.0)


def test_an_html_page_is_no_exposition() -> None:
    refused("<!DOCTYPE html>\n<html>te_request_duration</html>\n", "line 1 is no metric sample")


def test_an_html_page_that_quotes_wanted_lines_is_no_exposition() -> None:
    refused("<html><pre>\n" + tei(), "line 1 is no metric sample")


def test_a_json_answer_is_no_exposition() -> None:
    refused('{"status": "ok"}\n', "line 1 is no metric sample")


def test_plain_words_far_down_are_no_exposition() -> None:
    refused("up 1\nNot Found\n", "line 2 is no metric sample")


def test_a_text_whose_last_line_has_no_end_may_be_cut_short() -> None:
    refused(tei().rstrip("\n"), "cut short")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["# EOF", "other 1\n# EOF", "other 1\r\n\n# EOF"])
def test_an_end_without_a_newline_ends_a_text_of_other_families(text: str) -> None:
    assert read(text, TEI, 0.0).latency is None


def test_buckets_that_do_not_add_up_are_refused() -> None:
    refused(histogram({"0.1": 5, "1": 3, "+Inf": 6}, 1.0), "is not cumulative")


def test_one_label_set_that_does_not_add_up_is_not_hidden_by_another() -> None:
    one = histogram({"0.1": 5, "1": 3, "+Inf": 6}, 1.0, labels='model="a",')
    other = histogram({"0.1": 5, "1": 9, "+Inf": 9}, 1.0, labels='model="b",')
    refused(one + other, "is not cumulative")


def test_a_histogram_without_an_infinite_bucket_is_refused() -> None:
    refused(histogram({"0.1": 5, "1": 6}, 1.0), "has no bucket le=+Inf")


def test_a_bucket_that_is_not_a_number_is_missing() -> None:
    reading = read(histogram({"0.1": float("nan"), "1": 3, "+Inf": 6}, 1.0), TEI, 0.0)
    assert reading.latency is not None
    assert reading.latency.bounds == (1.0, float("inf"))


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "1e999"])
def test_a_gauge_that_is_not_a_number_or_has_no_end_is_missing(value: str) -> None:
    reading = read(f"{tei()}te_queue_size {value}\n", TEI, 0.0)
    assert reading.queue is None
    assert reading.latency is not None


def test_a_negative_count_is_refused() -> None:
    refused(histogram({"0.1": -5, "+Inf": 6}, 1.0), "negative count in the bucket le=0.1")


def test_a_negative_queue_is_refused() -> None:
    refused("te_queue_size -1\n", "te_queue_size is negative")


def test_a_negative_sum_is_refused() -> None:
    refused(histogram({"+Inf": 6}, -1.0), "needs one _sum of at least 0")


def test_an_infinite_count_is_refused() -> None:
    refused('te_request_failure{err="dropped"} +Inf\n', "must be a finite number or NaN")


def test_more_memory_in_use_than_there_is_is_refused() -> None:
    text = "te_gpu_memory_used_bytes 11\nte_gpu_memory_total_bytes 10\n"
    refused(text, "te_gpu_memory_used_bytes says that 11 of 10 is in use")


def test_more_gpus_than_a_machine_has_and_names_without_end_are_refused() -> None:
    line = 'te_gpu_memory_used_bytes{{gpu_uuid="{}"}} 1\n'
    refused("".join(map(line.format, range(257))), "names more than 256 GPUs")
    refused(line.format("G" * 129), "names a GPU with more than 128 characters")


def test_label_sets_with_different_buckets_are_refused() -> None:
    one = histogram({"0.1": 5, "+Inf": 6}, 1.0, labels='model="a",')
    other = histogram({"0.2": 5, "+Inf": 6}, 1.0, labels='model="b",')
    refused(one + other, "different buckets")


def test_of_a_bucket_that_is_there_twice_the_first_counts() -> None:
    twice = read(tei() + 'te_request_duration_bucket{le="1.0"} 7\n', TEI, 0.0)
    assert twice.latency == read(tei(), TEI, 0.0).latency
    assert "1 samples stand there once more with the same labels" in (twice.note or "")


def test_of_an_exposition_that_stands_twice_each_family_counts_once() -> None:
    text = tei(more=["te_queue_size 3", 'te_request_failure{err="inference"} 2'])
    twice = read(text + text, TEI, 0.0)
    once = read(text, TEI, 0.0)
    assert (twice.queue, twice.errors, twice.latency) == (3, 2, once.latency)
    assert once.note is None


def test_a_summary_is_not_taken_for_a_histogram() -> None:
    refused(
        "# TYPE te_request_duration summary\n"
        'te_request_duration{quantile="0.99"} 1\nte_request_duration_sum 2\n',
        "te_request_duration is a summary, not a histogram",
    )


def test_a_sum_without_buckets_is_refused() -> None:
    refused("te_request_duration_sum 2\n", "has a sum and no buckets")


def test_too_many_lines_are_refused() -> None:
    refused("up 1\n" * MAX_LINES, f"more than {MAX_LINES} lines")


def test_thousands_of_label_sets_are_refused() -> None:
    lines = (f'te_queue_size{{tenant="{i}"}} 1' for i in range(MAX_SAMPLES + 1))
    refused("\n".join(lines) + "\n", f"more than {MAX_SAMPLES} wanted samples")


def test_thousands_of_labels_are_refused() -> None:
    labels = ",".join(f'l{i}="v"' for i in range(3000))
    refused(f"te_queue_size{{{labels}}} 1\n", "longer than 2048 characters")


def test_a_label_that_is_there_twice_is_refused() -> None:
    refused('te_queue_size{a="1",a="2"} 1\n', "a wanted sample has a label twice")


def test_foreign_text_in_a_message_is_short_and_ascii() -> None:
    with pytest.raises(ExpositionError) as caught:
        read("te_queue_size \x1b[31m\x00é" + "x" * 500 + "\n", TEI, 0.0)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_a_fresh_server_without_the_histogram_has_no_samples_yet() -> None:
    reading = read("te_queue_size 0\n", TEI, 0.0)
    assert reading.latency is None
    assert reading.note == (
        "no family te_request_duration yet; if the replica has answered requests, does the server"
        " match profile tei?"
    )


def test_an_empty_text_is_an_exposition_without_samples() -> None:
    assert read("", TEI, 0.0).latency is None


def test_a_family_whose_name_only_starts_the_same_is_left_out() -> None:
    assert read("te_queue_size_max 7\nte_queue_size 1\n", TEI, 0.0).queue == 1


def test_timestamps_tabs_carriage_returns_and_exemplars_are_understood() -> None:
    text = 'te_queue_size\t1 1700000000000\r\nte_request_failure{a="}"} 2 # {trace="x"} 1\n'
    reading = read(text, TEI, 0.0)
    assert (reading.queue, reading.errors) == (1, 2)


def test_milliseconds_become_seconds() -> None:
    metrics = MetricsSettings(profile="prometheus", latency=LatencyFamily(family="d", unit="ms"))
    reading = read(histogram({"250": 1, "+Inf": 2}, 1000.0, "d"), profile_of(metrics), 0.0)
    assert reading.latency is not None
    assert reading.latency.bounds == (0.25, float("inf"))
    assert reading.latency.total == 1.0


def test_label_sets_are_summed_bucket_by_bucket() -> None:
    one = histogram({"0.1": 1, "+Inf": 2}, 1.0, labels='model="a",')
    other = histogram({"0.1": 10, "+Inf": 20}, 2.0, labels='model="b",')
    reading = read(one + other, TEI, 0.0)
    assert reading.latency is not None
    assert reading.latency.counts == (11, 22)
    assert reading.latency.total == 3.0


def test_only_samples_with_the_declared_labels_count() -> None:
    family = LatencyFamily(family="d", labels={"handler": "/embed"})
    metrics = MetricsSettings(profile="prometheus", latency=family)
    text = histogram({"+Inf": 2}, 1.0, "d", 'handler="/embed",') + histogram(
        {"+Inf": 90}, 1.0, "d", 'handler="/health",'
    )
    reading = read(text, profile_of(metrics), 0.0)
    assert reading.latency is not None
    assert reading.latency.count == 2


def test_memory_is_read_for_each_gpu() -> None:
    text = "".join(
        f'te_gpu_memory_{what}_bytes{{gpu_uuid="{uuid}"}} {value}\n'
        for uuid, what, value in (
            ("b", "used", 3), ("b", "total", 4), ("a", "used", 1), ("a", "total", 4),
            ("unknown", "used", 1), ("empty", "used", 0), ("empty", "total", 0),
        )
    )  # fmt: skip
    memory = read(text, TEI, 0.0).memory
    assert [(gpu.uuid, gpu.fraction) for gpu in memory] == [("a", 0.25), ("b", 0.75)]


def test_memory_in_percent_becomes_a_fraction() -> None:
    metrics = MetricsSettings(
        profile="prometheus",
        latency=LatencyFamily(family="d"),
        memory_used=MemoryFamily(family="m", unit="percent"),
    )
    (gpu,) = read("m 93\n", profile_of(metrics), 0.0).memory
    assert gpu.fraction == pytest.approx(0.93)


def test_memory_that_is_not_exposed_is_unknown_and_not_zero() -> None:
    assert read(tei(), TEI, 0.0).memory == ()


TOKENS = st.sampled_from(
    ["te_request_duration", "_bucket", "_sum", "_count", "te_queue_size", "te_request_failure",
     "te_gpu_memory_used_bytes", "te_gpu_memory_total_bytes", "# TYPE ", "{", "}", 'le="', '="',
     '"', ",", " ", "\t", "\n", "\r", "+Inf", "NaN", "-1", "0", "1", "2", "1e308", "1e999",
     "histogram", "\\", "_", "gpu_uuid", "\0", "٣", "\ud800", "#"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(TOKENS).map("".join)), st.sampled_from(["", "\n"]))
@example(histogram({"0.1": 1e308, "+Inf": 1e308}, 1e308), "\n")
@example('te_queue_size{a="1"} 1e308\nte_queue_size{a="2"} 1e308', "\n")
@example(
    "".join(histogram({"+Inf": 1e308}, 1e308, labels=f'a="{i}",') for i in range(3)).rstrip(), "\n"
)
def test_whatever_the_text_only_our_own_error_escapes(text: str, end: str) -> None:
    with suppress(ExpositionError):
        read(text + end, TEI, 0.0)


label_names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,5}", fullmatch=True)
label_values = st.text(st.sampled_from('ab"\\{}=, \n#é'), max_size=8)


def written(name: str, labels: dict[str, str], value: float) -> str:
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')

    block = ",".join(f'{name}="{escaped(text)}"' for name, text in labels.items())
    return f"{name}{{{block}}} {value}\n"


@given(st.dictionaries(label_names, label_values, max_size=4), st.floats(-1e300, 1e300))
def test_labels_and_values_are_read_as_prometheus_client_reads_them(
    labels: dict[str, str], value: float
) -> None:
    labels.pop("le", None)
    line = written("m", labels, value)
    (theirs,) = next(iter(text_string_to_metric_families(line))).samples
    (ours,) = parse(line, frozenset({"m"})).of(Source("m"))
    assert dict(ours.labels.values) == theirs.labels == labels
    assert ours.value == theirs.value


NAMES = ["m", "m_sum", "m_count", "m_bucket", "m_total", "mm", "m_", "n", "a:m", "process_m"]

lines_of_text = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(NAMES),
            st.dictionaries(label_names, label_values, max_size=2),
            st.integers(0, 10**6),
        ),
        st.sampled_from(NAMES).map("# HELP {} m 1\n".format),
        st.sampled_from(["\n", "# a comment\n", "  \n"]),
    ),
    max_size=20,
)


@given(lines_of_text, st.frozensets(st.sampled_from(NAMES), min_size=1))
def test_of_a_whole_text_the_wanted_samples_are_those_that_prometheus_client_reads(
    lines: list[str | tuple[str, dict[str, str], int]], wanted: frozenset[str]
) -> None:
    text = "".join(line if isinstance(line, str) else written(*line) for line in lines)
    first: dict[tuple[Any, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in wanted:
                # Prometheus keeps the first of two samples with the same labels.
                first.setdefault((sample.name, *sorted(sample.labels.items())), sample.value)
    theirs = sorted((key[0], [*key[1:]], value) for key, value in first.items())
    ours = sorted(
        (name, sorted(sample.labels.values.items()), sample.value)
        for exposition in [parse(text, wanted)]
        for name in exposition.layout.places
        for sample in exposition.of(Source(name))
    )
    assert ours == theirs


@pytest.mark.parametrize("exposed", ["te_request_failure", "te_request_failure_total"])
def test_a_counter_is_found_with_total_and_without(exposed: str) -> None:
    text = f'# TYPE {exposed} counter\n{exposed}{{err="overloaded"}} 2\n{exposed}{{err="x"}} 3\n'
    assert read(text, TEI, 0.0).errors == 5


def each_sample(change: str) -> Callable[[str], str]:
    """Rewrite the samples of a text: ``{series}`` and ``{value}`` stand for what there was."""

    def changed(text: str) -> str:
        lines = []
        for line in text.splitlines():
            series, _, value = line.rpartition(" ")
            is_sample = line and not line.startswith("#")
            lines.append(change.format(series=series, value=value) if is_sample else line)
        return "\n".join(lines) + "\n"

    return changed


def created(text: str) -> str:
    """Add when each series began, as OpenMetrics does, and its end."""
    lines = []
    for line in text.splitlines():
        lines.append(line)
        found = re.match(r"([^# {]+)_(?:count|total)({.*}|) ", line)
        if found is not None:
            lines.append(f"{found[1]}_created{found[2]} 1.7e+09")
    return "\n".join([*lines, "# EOF"])


@pytest.mark.parametrize(
    "rewritten",
    [
        each_sample("{series} {value} 1700000000123"),
        each_sample("{series} {value} 1700000000.123"),
        each_sample('{series} {value} # {{trace_id="a b",x="}}"}} 0.5 1.5'),
        each_sample('{series} {value} 1.7e+09 # {{trace_id="a"}} 0.5'),
        each_sample("  {series}\t  {value}\t"),
        each_sample("{series} {value}\r"),
        lambda text: "\n\n" + text.replace("\n", "\n\n"),
        lambda text: re.sub("(?m)^#.*\n", "", text),
        lambda text: re.sub(r"([{,])([a-z]+)=", r"\1 \2 = ", text).replace('"}', '", }'),
        created,
    ],
    ids=[
        *("milliseconds", "seconds", "exemplar", "time and exemplar", "blanks", "CR"),
        *("empty lines", "no comments", "spaced labels", "OpenMetrics"),
    ],
)
@pytest.mark.parametrize("server", PROFILES)
def test_a_server_is_read_alike_however_its_lines_are_written(
    server: str, rewritten: Callable[[str], str]
) -> None:
    text = exposed(server)
    assert read(rewritten(text), PROFILES[server], 0.0) == read(text, PROFILES[server], 0.0)
