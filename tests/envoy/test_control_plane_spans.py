"""What the control plane sends to a collector: a change, the decision, each Envoy's answer."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import aiohttp
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from controlplane.tracing import SERVICE
from tests.envoy.collector import Collector, attributes, collecting
from tests.envoy.pools import all_serve, pool_of
from tests.processes import Plimsoll, serving, sidecar, until
from tests.replica import FakeReplica, replica

POOL = "p"
PARENT = "b7ad6b7169203331"
NODES = ("one", "two")


@asynccontextmanager
async def world(
    folder: Path, collector: Collector, *replicas: FakeReplica
) -> AsyncIterator[Plimsoll]:
    """A control plane that sends spans, and two Envoys."""
    otlp = {"address": collector.address, "sampling": "0%", "control_plane": True}
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(
            serving(folder, [pool_of(POOL, *replicas)], otlp=otlp)
        )
        envoys = [
            await stack.enter_async_context(sidecar(folder, plane.xds, [POOL], node))
            for node in NODES
        ]
        await until("both Envoys serve", lambda: all_serve(envoys, POOL))
        yield plane


async def change(
    plane: Plimsoll,
    method: str,
    path: str,
    body: object = None,
    flags: str = "01",
) -> str:
    """Change something in a trace of its own; returns the id of the trace."""
    trace = uuid4().hex
    url = f"http://{plane.admin}/v1/pools/{POOL}/replicas{path}"
    headers = {"traceparent": f"00-{trace}-{PARENT}-{flags}"}
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.request(method, url, json=body, headers=headers) as response,
    ):
        assert response.status in (200, 201, 204), await response.text()
    return trace


def named(spans: Sequence[Span], name: str, parent: Span | None = None) -> list[Span]:
    """The spans of a name, below a parent if one is given; each lies in the time of its parent."""
    found = [span for span in spans if span.name == name]
    if parent is not None:
        found = [span for span in found if span.parent_span_id == parent.span_id]
    for each in found:
        assert each.start_time_unix_nano <= each.end_time_unix_nano
        if parent is not None:
            assert parent.start_time_unix_nano <= each.start_time_unix_nano
    return found


def answered(spans: Sequence[Span]) -> dict[str, list[Span]]:
    """By node the responses below the pushes below what was decided."""
    found: dict[str, list[Span]] = {}
    # While decisions are behind, a drain is passed on by itself.
    for decision in (*named(spans, "decision"), *named(spans, "refresh")):
        for push in named(spans, "push", decision):
            # Envoys are told once it is decided.
            assert push.start_time_unix_nano >= decision.end_time_unix_nano
            node = attributes(push.attributes)["node_id"]
            for each in named(spans, "ClusterLoadAssignment", push):
                assert each.end_time_unix_nano <= push.end_time_unix_nano
                assert attributes(each.attributes)["node_id"] == node
                found.setdefault(node, []).append(each)
    return found


async def told(collector: Collector, trace: str) -> list[Span]:
    """The spans of a trace, once both Envoys have answered."""

    async def have_answered() -> bool:
        return answered(collector.of_trace(trace)).keys() == {*NODES}

    await until("both Envoys have answered", have_answered)
    return collector.of_trace(trace)


async def test_a_change_is_followed_from_its_cause_to_the_answer_of_each_envoy(
    tmp_path: Path,
) -> None:
    async with (
        replica() as one,
        replica() as other,
        replica(loaded=False) as new,
        collecting() as collector,
        world(tmp_path, collector, one, other) as plane,
    ):
        await _drain_is_followed(plane, collector)
        await _start_is_followed(plane, collector, new)
        await _only_sampled_changes_are_followed(plane, collector)
        path = tmp_path / "plimsoll.yaml"
        path.write_text(path.read_text().replace("r1", "r2"))
        await until("the file is followed", lambda: _is_file_followed(collector))
        assert collector.services == {SERVICE}
        assert {span.status.code for span in collector.spans} == {Status.STATUS_CODE_UNSET}


async def _drain_is_followed(plane: Plimsoll, collector: Collector) -> None:
    spans = await told(collector, await change(plane, "POST", "/r0/drain"))
    request = _request(spans)
    assert request.name == "POST /v1/pools/{pool}/replicas/{replica}/drain"
    assert request.parent_span_id.hex() == PARENT
    assert attributes(request.attributes)["url.path"] == f"/v1/pools/{POOL}/replicas/r0/drain"
    assert named(spans, "decision", request)
    sent = answered(spans)
    for node in (await plane.get("/v1/nodes"))["nodes"]:
        (held,) = (each for each in node["types"] if each["type_url"].endswith("Assignment"))
        versions = {attributes(span.attributes)["version"] for span in sent[node["id"]]}
        assert held["acknowledged"] in versions


async def _start_is_followed(plane: Plimsoll, collector: Collector, new: FakeReplica) -> None:
    trace = await change(plane, "PUT", "/new", {"address": new.address})

    async def has_decision() -> bool:
        return bool(named(collector.of_trace(trace), "decision"))

    await until("a decision changes nothing for Envoys", has_decision)
    assert answered(collector.of_trace(trace)) == {}
    new.loaded = True
    spans = await told(collector, trace)
    (start,) = named(spans, "start", _request(spans))
    assert attributes(start.attributes) == {"pool": POOL, "replica": "new"}
    decisions = named(spans, "decision", start)
    assert decisions
    # It is ready when that is decided.
    assert all(each.start_time_unix_nano >= start.end_time_unix_nano for each in decisions)


async def _only_sampled_changes_are_followed(plane: Plimsoll, collector: Collector) -> None:
    silent = [
        await change(plane, "GET", "/r0"),
        await change(plane, "POST", "/r1/undrain"),
        await change(plane, "POST", "/r1/drain", flags="00"),
    ]
    # What comes last says that all before it has come.
    await told(collector, await change(plane, "POST", "/r0/undrain"))
    assert [collector.of_trace(trace) for trace in silent] == [[], [], []]


async def _is_file_followed(collector: Collector) -> bool:
    roots = [span for span in collector.spans if span.name == "config file"]
    return any(
        answered(collector.of_trace(root.trace_id.hex())).keys() == {*NODES} for root in roots
    )


def _request(spans: Sequence[Span]) -> Span:
    (found,) = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    return found
