"""Load against real servers: when it leaves, what is measured, and what ends it early."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from aiohttp import web

from controlplane.tools.load import report as plot
from controlplane.tools.load.envoy import Hop
from controlplane.tools.load.outcome import Outcome
from controlplane.tools.load.run import Moment, Sources, send
from controlplane.tools.load.workload import LoadError, Workload
from tests.processes import DEADLINE, free_port
from tests.tools.load.servers import Counting, server, workload

STALL = 1.0


async def sent(order: Workload, sources: Sources | None = None) -> Outcome:
    return await send(order, sources or Sources())


async def test_every_request_is_counted_with_its_bytes() -> None:
    handler = Counting()
    async with server(handler) as url:
        outcome = await sent(workload(url))
    (step,) = outcome.steps
    assert step.record.whole.requests == handler.served > 50
    assert step.record.received == 2 * handler.served
    assert step.record.sent == sum(
        len('{"model": "m", "input": ""}') + len(body["input"]) for body in handler.bodies
    )
    async with server(again := Counting()) as url:
        await sent(workload(url))
    # On connections of their own, two that are close in time may overtake each other.
    sent_before = sorted(body["input"] for body in handler.bodies)
    assert sorted(body["input"] for body in again.bodies) == sent_before
    assert handler.bodies[0]["model"] == "m"
    assert len(handler.bodies[0]["input"].split()) == 5
    assert step.record.cpu is not None
    assert outcome.stopped is None


async def test_a_stall_does_not_hold_back_what_is_to_be_sent() -> None:
    async with server(Counting(pauses={20: STALL})) as url:
        outcome = await sent(workload(url, seconds=2.0))
    whole = outcome.steps[0].record.whole
    # A client that waits would have seen one slow answer among 200.
    slow = [part for seconds, part in whole.latency.curve() if seconds > STALL / 10]
    assert 1 - slow[0] > 0.25
    assert whole.latency.longest > STALL / 2


async def test_coordinated_omission_is_in_the_service_time_and_not_in_the_latency() -> None:
    async with server(Counting(pauses={20: STALL})) as url:
        outcome = await sent(workload(url, seconds=2.0, most=1))
    record = outcome.steps[0].record
    service, latency = (item.quantile(0.8) for item in (record.whole.service, record.whole.latency))
    assert service is not None
    assert latency is not None
    assert latency > 3 * service
    assert record.held_back > 0
    assert "so the load was not open loop" in " ".join(
        finding.sentence for finding in outcome.steps[0].findings()
    )


async def test_a_staircase_ends_with_the_rate_that_reaches_the_limit() -> None:
    async def never(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        raise AssertionError

    async with server(never) as url:
        order = workload(url, rates=(50,) * 200, seconds=0.5, most=10, timeout=1.0)
        async with asyncio.timeout(DEADLINE):
            outcome = await sent(order)
    assert outcome.cut
    assert [step.step.rate for step in outcome.steps] == [50]
    assert outcome.steps[0].record.whole.faults.keys() == {"no answer in time"}


async def test_what_could_not_be_sent_before_a_step_was_over_never_is() -> None:
    handler = Counting(pauses=dict.fromkeys(range(200), 0.1))
    async with server(handler) as url:
        outcome = await sent(workload(url, seconds=0.5, most=1))
    assert 0 < handler.served < 15
    assert outcome.steps[0].record.held_back > 15
    assert outcome.steps[0].record.unsent == 0


async def test_what_the_generator_does_not_keep_up_with_ends_soon_after_the_step() -> None:
    # No process sends so many; it would go on for minutes, and with the next rate after that.
    async with server(Counting()) as url:
        begun = asyncio.get_running_loop().time()
        outcome = await sent(workload(url, rates=(100_000, 200_000), seconds=0.3, most=100_000))
        taken = asyncio.get_running_loop().time() - begun
    (only,) = outcome.steps
    assert only.record.unsent > 0
    assert only.record.held_back == 0
    assert only.record.unsent + only.record.whole.requests > 25_000
    assert outcome.cut
    assert taken < DEADLINE
    found = outcome.capacity(30.0)
    assert found is not None
    assert (found.known, found.spoiled) == ("nothing", 100_000)
    assert outcome.as_json(30.0)["capacity"]["generator_missed_rps"] == 100_000


async def test_requests_of_the_warm_up_are_sent_and_not_measured() -> None:
    handler = Counting()
    async with server(handler) as url:
        outcome = await sent(workload(url, warm_up=0.5, seconds=0.5))
    assert 0.2 < outcome.steps[0].record.whole.requests / handler.served < 0.8


async def test_targets_have_turns_by_their_weights() -> None:
    light, heavy = Counting(), Counting(status=503)
    async with server(light) as one, server(heavy) as other:
        outcome = await sent(workload(one, other, weights=[1, 3]))
    assert abs(3 * light.served - heavy.served) <= 3
    targets = outcome.steps[0].record.targets
    assert (targets[0].failed, targets[1].failed) == (0, heavy.served)
    assert targets[1].faults.keys() == {"status 503"}


async def test_answers_tell_who_answered_and_how_long_envoy_waited() -> None:
    handler = Counting()
    handler.headers = {"x-replica": "a" * 100, "x-envoy-upstream-service-time": "3"}
    async with server(handler) as url:
        outcome = await sent(workload(url, replica_header="x-replica"))
    record = outcome.steps[0].record
    assert record.replicas.keys() == {"a" * 64}
    assert record.whole.upstream.longest == 0.003


async def test_a_redirect_is_not_followed() -> None:
    other = Counting()
    async with server(other) as elsewhere:

        async def redirect(request: web.Request) -> web.Response:
            raise web.HTTPTemporaryRedirect(elsewhere)

        async with server(redirect) as url:
            outcome = await sent(workload(url, seconds=0.3))
    assert other.served == 0
    assert outcome.steps[0].record.whole.faults.keys() == {"status 307"}


async def test_an_answer_that_breaks_off_is_a_failed_request() -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async with server(half) as url:
        outcome = await sent(workload(url, seconds=0.3))
    assert outcome.steps[0].record.whole.faults.keys() == {
        "the connection was closed before the answer was whole"
    }


async def test_a_target_where_nobody_is_ends_the_load_and_is_named() -> None:
    handler = Counting()
    nobody = f"http://127.0.0.1:{free_port()}/embed"
    async with server(handler) as url:
        with pytest.raises(LoadError, match=f"{nobody} cannot be reached: connection refused"):
            await sent(workload(url, nobody, rates=(20,), seconds=60.0))


async def test_an_envoy_that_is_not_there_is_named_before_anything_is_sent() -> None:
    handler = Counting()
    async with server(handler) as url:
        for admin, said in (
            (f"http://127.0.0.1:{free_port()}", "no Envoy's admin interface answers at"),
            (url, "no Envoy's admin interface answers at"),
        ):
            with pytest.raises(LoadError, match=said):
                await sent(workload(url), Sources(pool="m", envoys=(admin,)))
    assert not any("input" in body for body in handler.bodies)


async def test_a_cluster_that_envoy_does_not_have_is_named() -> None:
    async def clusters(request: web.Request) -> web.Response:
        return web.json_response({"cluster_statuses": [{"name": "other"}]})

    async with server(clusters) as url:
        with pytest.raises(LoadError, match="has no cluster 'm', but: other"):
            await sent(workload(url), Sources(pool="m", envoys=(url,)))


async def test_what_an_envoy_counted_before_the_load_is_not_of_the_load() -> None:
    looks = 0

    async def admin(request: web.Request) -> web.Response:
        nonlocal looks
        if request.path == "/clusters":
            return web.json_response({"cluster_statuses": [{"name": "m"}]})
        looks += 1
        counts = {1: 1000, 5: 1000} if looks == 1 else {1: 1000, 5: 1010}
        buckets = [{"upper_bound": item, "cumulative": count} for item, count in counts.items()]
        entry = {"name": "cluster.m.upstream_rq_time", "buckets": buckets}
        return web.json_response({"stats": [{"histograms": [entry]}]})

    async with server(Counting()) as url, server(admin) as envoy:
        base = envoy.removesuffix("/v1/embeddings")
        outcome = await sent(workload(url, seconds=0.3), Sources(pool="m", envoys=(base,)))
    assert outcome.hops == {base: {"upstream": Hop(10, 0.005, 0.005)}}


async def test_a_signal_ends_it_with_what_was_measured_so_far() -> None:
    handler = Counting(pauses={60: 60.0})

    def stop(now: Moment) -> None:
        if handler.served >= 60:
            os.kill(os.getpid(), signal.SIGINT)

    async with server(handler) as url:
        outcome = await send(workload(url, seconds=60.0), Sources(), stop)
    assert outcome.stopped == 130
    assert outcome.steps[0].record.whole.requests == 59
    assert outcome.unanswered > 0
    assert not outcome.steps[0].whole
    assert outcome.capacity(objective=60.0) is None


async def test_how_far_it_is_can_be_followed() -> None:
    moments: list[Moment] = []
    async with server(Counting()) as url:
        order = workload(url, rates=(50, 100))
        await send(order, Sources(), moments.append)
    assert [moment.rate for moment in moments] == sorted(moment.rate for moment in moments)
    assert {moment.rate for moment in moments} == {50, 100}
    assert moments[-1].sent > moments[0].sent
    assert moments[-1].p99 is not None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rates", [(50,), (50, 100)])
@pytest.mark.parametrize("status", [200, 503])
async def test_any_outcome_can_be_drawn(
    tmp_path: Path, rates: tuple[float, ...], status: int
) -> None:
    handler = Counting(status)
    handler.headers = {"x-replica": "a"}
    async with server(handler) as url:
        order = workload(url, rates=rates, seconds=0.3, replica_header="x-replica")
        outcome = await sent(order)
    assert plot.draw(outcome, 0.25, tmp_path / "load.png")
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")


async def test_of_nothing_that_was_answered_there_is_nothing_to_draw(tmp_path: Path) -> None:
    async with server(Counting(status=503)) as url:
        outcome = await sent(workload(url, seconds=0.3))
    assert not plot.draw(outcome, None, tmp_path / "load.png")
    assert not (tmp_path / "load.png").exists()
