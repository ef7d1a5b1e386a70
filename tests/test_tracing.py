"""Spans of the control plane: whose they are, what they say of failures, and where they go."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from controlplane import tracing
from controlplane.app import running
from controlplane.config import Config, OtlpSettings, SettingsError, validated
from controlplane.fleet import Change
from controlplane.plane import Plane
from controlplane.resources.resource import CLUSTER, ENDPOINT
from controlplane.tracing import DECISION, REFRESH, Tracing
from controlplane.xds import Acknowledged, Rejected, Sent
from tests.authority import Files
from tests.envoy.collector import Collector, collecting
from tests.processes import free_port, until

POOL = Change("p", None, None, None)
OK, FAILED = Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR


def sent(type_url: str = ENDPOINT) -> Sent:
    return Sent(type_url, "v1", resources=1, removed=0, size=10)


class Traced:
    """Spans that are made and sent, and those that have come."""

    def __init__(self, collector: Collector, settings: OtlpSettings) -> None:
        self.tracing = Tracing(settings, Plane(0.0))
        self.collector = collector

    def decide(self, *causes: str) -> None:
        """Decide about changes, and have one stream told."""
        for name in causes:
            with self.tracing.change(name):
                self.tracing.changed([POOL])
        self.tracing.deciding()(True)  # noqa: FBT003 - it is something new for Envoys
        self.tracing.begun(["stream"], 0.0)

    def happen(self, *of: Sent | Acknowledged | Rejected) -> None:
        for event in of:
            if isinstance(event, Sent):
                self.tracing.writing("stream", "node", event)
            else:
                self.tracing.happened("stream", "node", event)

    async def named(self, name: str, count: int = 1) -> list[Span]:
        """The spans of a name, once there are so many."""

        async def have_come() -> bool:
            return len(self._named(name)) >= count

        await until(f"{count} spans {name} come", have_come)
        return self._named(name)

    def _named(self, name: str) -> list[Span]:
        return [span for span in self.collector.spans if span.name == name]


@asynccontextmanager
async def traced(
    credentials: grpc.ServerCredentials | None = None, **more: Any
) -> AsyncIterator[Traced]:
    async with collecting(credentials) as collector:
        body = {"address": collector.address, **more}
        found = Traced(collector, validated(OtlpSettings, body))
        try:
            yield found
        finally:
            await asyncio.to_thread(found.tracing.stop)


async def test_a_decision_about_several_changes_is_in_the_trace_of_each() -> None:
    async with traced() as found:
        found.decide("one", "other")
        found.happen(sent(), Acknowledged(ENDPOINT, "v1"))
        found.tracing.settled("stream")
        (push,) = await found.named("push")
        first, second = await found.named("decision", 2)
        (one,), (other,) = [await found.named(name) for name in ("one", "other")]
    assert (first.parent_span_id, second.parent_span_id) == (one.span_id, other.span_id)
    assert push.parent_span_id == first.span_id
    assert [link.span_id for link in second.links] == [first.span_id]


async def test_a_cause_that_changes_nothing_has_no_span_and_no_part_in_a_decision() -> None:
    async with traced() as found:
        with found.tracing.change("nothing"):
            pass
        found.decide("something")
        await found.named("something")
        (decision,) = await found.named("decision")
    assert not decision.links
    assert {span.name for span in found.collector.spans} == {"something", "decision"}


async def test_a_refresh_leaves_the_causes_to_the_decision_that_follows() -> None:
    async with traced() as found:
        with found.tracing.change("change"):
            found.tracing.changed([POOL])
        for name in (REFRESH, REFRESH, DECISION, DECISION):
            found.tracing.deciding(name)(False)  # noqa: FBT003 - nothing new for Envoys
        (change,) = await found.named("change")
        (decision,) = await found.named("decision")
    assert decision.parent_span_id == change.span_id
    (refresh,) = [span for span in found.collector.spans if span.name == "refresh"]
    assert refresh.parent_span_id == change.span_id


async def test_what_changes_by_itself_is_a_lease_that_ran_out() -> None:
    async with traced() as found:
        found.tracing.changed([POOL])
        found.decide()
        (lease,) = await found.named("lease")
        (decision,) = await found.named("decision")
    assert decision.parent_span_id == lease.span_id


async def test_a_rejection_is_a_failure_of_the_response_and_of_the_push() -> None:
    async with traced() as found:
        found.decide("change")
        found.happen(sent(CLUSTER), sent(), Acknowledged(CLUSTER, "v1"))
        found.happen(Rejected(ENDPOINT, ("p",), "no such thing"))
        found.tracing.settled("stream")
        (push,) = await found.named("push")
        (cluster,) = await found.named("Cluster")
        (endpoint,) = await found.named("ClusterLoadAssignment")
    assert [span.status.code for span in (push, cluster, endpoint)] == [FAILED, OK, FAILED]
    assert endpoint.status.message == "rejected: no such thing"


async def test_a_client_that_goes_is_a_failure_of_what_it_has_not_answered_for() -> None:
    async with traced() as found:
        found.decide("change")
        found.happen(sent())
        found.tracing.gone("stream")
        (push,) = await found.named("push")
        (response,) = await found.named("ClusterLoadAssignment")
    assert {push.status.message, response.status.message} == {"the client has gone"}


async def test_a_client_without_anything_new_has_no_push() -> None:
    async with traced() as found:
        found.decide("one")
        found.tracing.settled("stream")
        # The next answer is not one of that change.
        found.happen(sent(), Acknowledged(ENDPOINT, "v1"))
        found.decide("other")
        found.happen(sent(), Acknowledged(ENDPOINT, "v2"))
        found.tracing.settled("stream")
        await found.named("push")
        await found.named("ClusterLoadAssignment")
    assert sorted(span.name for span in found.collector.spans) == sorted(
        ["one", "decision", "other", "decision", "push", "ClusterLoadAssignment"]
    )


async def test_a_response_that_is_written_just_before_its_push_begins_is_of_that_push() -> None:
    async with traced() as found:
        with found.tracing.change("change"):
            found.tracing.changed([POOL])
        # It can only hold what was decided before.
        found.happen(sent(CLUSTER))
        found.tracing.deciding()(True)  # noqa: FBT003 - it is something new for Envoys
        found.happen(sent())
        found.tracing.begun(["stream"], 0.0)
        found.happen(Acknowledged(CLUSTER, "v1"), Acknowledged(ENDPOINT, "v1"))
        found.tracing.settled("stream")
        (push,) = await found.named("push")
        (response,) = await found.named("ClusterLoadAssignment")
    assert response.parent_span_id == push.span_id
    assert not [span for span in found.collector.spans if span.name == "Cluster"]


async def test_a_response_for_several_pushes_is_below_the_newest_and_names_the_others() -> None:
    async with traced() as found:
        for name in ("one", "other"):
            found.decide(name)
        found.happen(sent(), Acknowledged(ENDPOINT, "v1"))
        found.tracing.settled("stream")
        old, new = sorted(await found.named("push", 2), key=lambda span: span.start_time_unix_nano)
        (response,) = await found.named("ClusterLoadAssignment")
    assert response.parent_span_id == new.span_id
    assert [link.span_id for link in response.links] == [old.span_id]


async def test_a_client_that_never_answers_keeps_some_pushes_only() -> None:
    async with traced() as found:
        for _ in range(tracing.MAX_OPEN + 3):
            found.decide("change")
            found.happen(sent())
        given_up = await found.named("push", 3)
    assert {span.status.message for span in given_up[:3]} == {"not answered for while others came"}


@pytest.mark.parametrize(("name", "comes"), [("collector.test", True), ("other.test", False)])
async def test_over_tls_spans_go_to_a_collector_of_that_name_and_to_no_other(
    tmp_path: Path,
    name: str,
    *,
    comes: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tracing, "EXPORT_SECONDS", 60.0 if comes else 1.0)
    files = Files(tmp_path / "tls", trustme.CA(), "collector.test")
    pair = files.key.read_bytes(), files.certificate.read_bytes()
    tls = {"ca": str(files.ca), "server_name": name}
    async with traced(grpc.ssl_server_credentials([pair]), tls=tls) as found:
        found.decide("change")
        if comes:
            await found.named("decision")
        else:

            async def is_refused() -> bool:
                return "Failed to export" in caplog.text

            await until("the export fails", is_refused)
    assert bool(found.collector.spans) == comes


def test_a_collector_whose_ca_is_not_here_is_refused_with_its_key(tmp_path: Path) -> None:
    tls = {"ca": str(tmp_path / "none.pem"), "server_name": "collector.test"}
    settings = validated(OtlpSettings, {"address": "127.0.0.1:4317", "tls": tls})
    with pytest.raises(SettingsError, match="No such file") as error:
        Tracing(settings, Plane(0.0))
    assert error.value.path == ("otlp", "tls", "ca")


def config(folder: Path, *, control_plane: bool) -> Config:
    at = f"127.0.0.1:{free_port()}"
    body = {
        "admin": {"address": f"127.0.0.1:{free_port()}"},
        "xds": {"address": f"127.0.0.1:{free_port()}"},
        "store": {"path": str(folder / "plimsoll.db")},
        "otlp": {"address": at, "control_plane": control_plane},
    }
    return validated(Config, body)


async def test_without_the_packages_only_spans_of_the_control_plane_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("controlplane.tracing", "opentelemetry.sdk.trace"):
        monkeypatch.setitem(sys.modules, name, None)
    async with running(config(tmp_path, control_plane=False)):
        pass
    with pytest.raises(SettingsError, match=r"pip install 'plimsoll\[otlp\]'") as error:
        async with running(config(tmp_path, control_plane=True)):
            pass
    assert error.value.path == ("otlp", "control_plane")


def test_nobody_else_imports_opentelemetry() -> None:
    code = "import sys, controlplane.app; print('opentelemetry.sdk' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


async def test_a_control_plane_stops_though_no_collector_is_there(tmp_path: Path) -> None:
    async with running(config(tmp_path, control_plane=True)):
        pass
