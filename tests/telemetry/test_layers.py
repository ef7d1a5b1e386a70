"""What is counted once, though a server counts it for each model, rank or step."""

from collections.abc import Mapping

import pytest

from controlplane.config import MetricsSettings, ProfileName
from controlplane.telemetry import History, Reading, Window, profile_of, read
from tests.telemetry.test_servers import exposed
from tests.telemetry.texts import histogram

STEPS = {"rag": (1000, 32.0, 0), "tokenize": (1003, 3.0, 1), "encode": (1001, 28.5, 6)}


def triton(models: Mapping[str, tuple[int, float, int]]) -> str:
    """Requests, seconds and pending requests of each model."""
    return "".join(
        f'nv_inference_request_success{{model="{name}",version="1"}} {count}\n'
        f'nv_inference_request_failure{{model="{name}",reason="BACKEND",version="1"}} 2\n'
        f'nv_inference_request_failure{{model="{name}",reason="CANCELED",version="1"}} 50\n'
        f'nv_inference_request_duration_us{{model="{name}",version="1"}} {seconds * 1e6:.0f}\n'
        f'nv_inference_pending_request_count{{model="{name}",version="1"}} {pending}\n'
        for name, (count, seconds, pending) in models.items()
    )


def ray(deployments: Mapping[str, tuple[int, float, str]]) -> str:
    """Requests, their milliseconds, and the route of each deployment; 5 are under way in each."""
    family = "ray_serve_deployment_processing_latency_ms"
    texts = []
    for name, (count, total, route) in deployments.items():
        labels = f'application="app",deployment="{name}",replica="r",route="{route}",'
        texts.append(histogram({"20.0": count, "+Inf": count}, total, family, labels))
        texts.append(f'ray_serve_replica_processing_queries{{deployment="{name}"}} 5\n')
        texts.append(f'ray_serve_deployment_queued_queries{{deployment="{name}"}} 2\n')
    return "".join(texts)


def reading(profile: ProfileName, text: str, **labels: str) -> Reading:
    settings = MetricsSettings(profile=profile, labels=labels)
    return read(text, profile_of(settings), 0.0)


def counted(counts: Reading) -> tuple[float, float]:
    assert counts.latency is not None
    return counts.latency.count, round(counts.latency.total, 9)


def test_the_steps_of_an_ensemble_are_no_requests_and_what_waits_for_them_waits() -> None:
    counts = reading("triton", triton(STEPS))
    assert counted(counts) == (1000, 32.0)
    assert (counts.queue, counts.errors) == (7, 2)
    assert "rag is counted and encode, tokenize are not" in (counts.note or "")
    assert "metrics: {labels: {model: NAME}}" in (counts.note or "")


def test_narrowed_to_an_ensemble_what_waits_for_its_steps_waits_for_it() -> None:
    others = {**STEPS, "reranker": (40, 4.0, 90)}
    counts = reading("triton", triton(others), model="rag")
    assert (counted(counts), counts.queue) == ((1000, 32.0), 7)
    step = reading("triton", triton(others), model="encode")
    assert (counted(step), step.queue) == ((1001, 28.5), 6)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param((400, 9.0, 0), id="fewer requests"),
        pytest.param((1060, 9.0, 0), id="more requests"),
        pytest.param((5, 0.1, 0), id="hardly any"),
    ],
)
def test_models_of_their_own_are_added_up_and_the_operator_is_told(
    other: tuple[int, float, int],
) -> None:
    counts = reading("triton", triton({"minilm": (1000, 30.0, 1), "reranker": other}))
    assert counted(counts) == (1000 + other[0], 30.0 + other[1])
    assert "of 2 values of model are added up: minilm, reranker (metrics:" in (counts.note or "")


def test_a_step_that_takes_longer_than_the_request_is_none() -> None:
    both = {"a": (1000, 30.0, 0), "b": (1000, 30.0, 0)}
    assert counted(reading("triton", triton(both)))[0] == 1000
    assert counted(reading("triton", triton({**both, "b": (1000, 31.0, 0)})))[1] == 31.0


def test_a_request_to_a_ray_application_is_counted_at_its_ingress_alone() -> None:
    chain = {"Ingress": (300, 4600, "/e"), "Router": (300, 4400, "/e"), "Model": (301, 4000, "/e")}
    counts = reading("ray-serve", ray(chain))
    assert counted(counts) == (300, 4.6)
    assert (counts.running, counts.queue) == (5, 6)
    assert "of 3 values of deployment, Ingress is counted" in (counts.note or "")


def test_deployments_without_a_route_are_behind_those_that_have_one() -> None:
    text = ray({"OpenAiIngress": (4116, 9000, "/v1/embeddings"), "LLMServer": (9, 100, "")})
    assert counted(reading("ray-serve", text)) == (4116, 9.0)
    alone = ray({"LLMServer": (9, 100, "")})
    assert counted(reading("ray-serve", alone)) == (9, 0.1)


RANKS = 'engine_type="unified",model_name="m",moe_ep_rank="0",pp_rank="{pp}",tp_rank="{tp}"'


def sglang(labels: str, queue: float, running: float) -> str:
    return (
        f"sglang:num_queue_reqs{{{labels}}} {queue}\n"
        f"sglang:num_running_reqs{{{labels}}} {running}\n"
        f"sglang:prompt_tokens_total{{{labels}}} 700\n"
    )


def test_one_queue_that_each_rank_tells_counts_once() -> None:
    # The last of ten ranks is no later than the second.
    ranks = [RANKS.format(pp=pp, tp=tp) for pp in range(2) for tp in range(11)]
    counts = reading("sglang", "".join(sglang(labels, 6, 4) for labels in ranks))
    assert (counts.queue, counts.running, counts.tokens) == (6, 4, 700)
    assert "22 ranks tell the same queue: 1 of them counted" in (counts.note or "")


def test_engines_beside_each_other_have_queues_of_their_own() -> None:
    ranks = [(RANKS.format(pp=0, tp=tp) + f',dp_rank="{tp // 2}"', 3 + tp // 2) for tp in range(4)]
    counts = reading("sglang", "".join(sglang(labels, queue, 1) for labels, queue in ranks))
    assert (counts.queue, counts.running) == (3 + 4, 2)
    engines = "".join(f'vllm:num_requests_waiting{{engine="{n}"}} {n}\n' for n in (2, 3))
    assert reading("vllm", engines).queue == 5


RENAMED: dict[ProfileName, tuple[tuple[str, str], ...]] = {
    "ray-serve": (
        ("ray_serve_deployment_processing_latency_ms", "ray_serve_replica_request_latency_ms"),
        ("ray_serve_deployment_queued_queries", "ray_serve_router_num_queued_requests"),
        ("ray_serve_replica_processing_queries", "ray_serve_replica_num_ongoing_requests"),
        ("ray_serve_deployment_error_counter_total", "ray_serve_replica_error_counter_total"),
    ),
    "ray-llm": (("ray_vllm_", "ray_vllm:"),),
    "bentoml": (("bentoml_service_", "bentoml_api_server_"),),
}


@pytest.mark.parametrize("server", RENAMED)
def test_a_family_is_read_under_either_name_and_once_where_it_has_both(
    server: ProfileName,
) -> None:
    old = new = exposed(server)
    for before, after in RENAMED[server]:
        assert before in new
        new = new.replace(before, after)
    first = reading(server, old)
    assert first.latency is not None
    for item in (reading(server, new), reading(server, old + new)):
        assert (item.latency, item.queue, item.running) == (
            first.latency,
            first.queue,
            first.running,
        )
        assert (item.errors, item.tokens) == (first.errors, first.tokens)


def test_requests_go_on_where_another_model_is_taken_for_the_whole() -> None:
    """Counts that were alike by chance part again; nothing is counted twice for that."""
    profile = profile_of(MetricsSettings(profile="triton"))

    def at(second: float, embed: int, rerank: int) -> Window:
        models = {"embed": (embed, embed * 0.03, 0), "rerank": (rerank, rerank * 0.01, 0)}
        return history.add(read(triton(models), profile, second))

    history = History()
    at(0.0, 1000, 1000)
    at(1.0, 1100, 1010)
    window = at(2.0, 1200, 1020)
    assert history.generation == 0
    assert window.samples == pytest.approx(210 + 10, abs=10)


def test_errors_of_clients_are_none_of_the_replica() -> None:
    own = {"overloaded": 3, "inference": 2, "dropped": 4, "unheard of": 1}
    theirs = dict.fromkeys(
        ("batch_size", "validation", "tokenization", "model_type", "missing_values"), 61354
    )
    text = "".join(
        f'te_request_failure{{err="{err}"}} {count}\n' for err, count in {**own, **theirs}.items()
    )
    assert reading("tei", text).errors == 10


def test_of_sglangs_requests_by_priority_the_total_counts_and_not_its_parts() -> None:
    ranks = [RANKS.format(pp=0, tp=tp) for tp in range(2)]
    parts = {"": (9, 6), "0": (2, 1), "10": (7, 5)}
    text = "".join(
        sglang(f'{labels},priority="{priority}"', *counts)
        for labels in ranks
        for priority, counts in parts.items()
    )
    got = reading("sglang", text)
    assert (got.queue, got.running) == (9, 6)


def bentoml(services: Mapping[str, tuple[int, float, int]]) -> str:
    """Requests, seconds and failures of each service of one Bento."""
    family, texts = "bentoml_service_request_duration_seconds", []
    for name, (count, total, failed) in services.items():
        labels = f'endpoint="/encode",http_response_code="200",runner_name="{name}",'
        texts.append(histogram({"0.1": count, "+Inf": count}, total, family, labels))
        labels = f'endpoint="/encode",http_response_code="500",runner_name="{name}"'
        texts.append(f"bentoml_service_request_total{{{labels}}} {failed}\n")
        labels = f'endpoint="/encode",runner_name="{name}"'
        texts.append(f"bentoml_service_request_in_progress{{{labels}}} 3\n")
    return "".join(texts)


def test_services_that_a_service_of_bentoml_asks_count_no_further_requests() -> None:
    both = {"Gateway": (500, 25.0, 4), "Embedder": (501, 20.0, 4)}
    got = reading("bentoml", bentoml(both))
    assert counted(got) == (500, 25.0)
    assert (got.errors, got.running) == (4, 3)
    assert "of 2 values of runner_name, Gateway is counted" in (got.note or "")
    alone = reading("bentoml", bentoml({"Embedder": (501, 20.0, 4)}))
    assert (counted(alone), alone.note) == ((501, 20.0), None)
