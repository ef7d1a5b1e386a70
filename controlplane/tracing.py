"""The control plane's own spans: from a change of the fleet to the answer of each Envoy.

The root is what changes the fleet: a request, the config file, discovery, a lease that runs out.
Below it come the start of a replica, each decision about it, the push to each Envoy that the
decision concerns, and each response, until the Envoy answers it. Shares that follow from
measurements alone have no spans. Only this file imports OpenTelemetry, which is optional.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import grpc
from aiohttp import web
from aiohttp.typedefs import Handler
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import DEFAULT_ON
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from controlplane import __version__
from controlplane.config import OtlpSettings, SettingsError
from controlplane.config.tls import SYSTEM
from controlplane.files import read_file
from controlplane.fleet import Change, Replica
from controlplane.plane import Plane
from controlplane.resources.tls import SYSTEM_BUNDLE
from controlplane.xds import events

SERVICE: Final = "plimsoll"
"""The name of the service in spans."""
EXPORT_SECONDS: Final = 2.0
"""For one export; a stop of the control plane waits for the last one."""
EXPORT_INTERVAL: Final = 1.0
"""Seconds between two exports."""
MAX_QUEUED: Final = 16_384
"""Spans that wait for their export. One change may go to thousands of Envoys at once."""
DECISION: Final = "decision"
REFRESH: Final = "refresh"
MAX_OPEN: Final = 64
"""Pushes that an Envoy has not answered for; the oldest is given up for a new one."""
MAX_STARTING: Final = 1_024
"""Starts of replicas that are followed at a time; the oldest is given up for a new one."""

_CHANGING: Final = frozenset({"DELETE", "POST", "PUT"})


@dataclass(slots=True)
class _Cause:
    """What may change the fleet; its span is sent only where something has changed."""

    span: Span
    has_changed: bool = False


@dataclass(slots=True)
class _Push:
    """The way of what was decided to one Envoy; its span begins with the first answer."""

    decision: Span
    offered: int
    span: Span | None = None


@dataclass(slots=True)
class _Stream:
    """What an Envoy has not answered for.

    Attributes:
        node: The Envoy's id; empty before the first response.
        pushes: The oldest first.
        responses: By type, with when each was written.
    """

    node: str = ""
    pushes: list[_Push] = field(default_factory=list)
    responses: dict[str, tuple[int, events.Sent]] = field(default_factory=dict)


class Tracing:
    """Makes the spans and sends them; `stop` it at the end. No method but `stop` waits."""

    def __init__(self, settings: OtlpSettings, plane: Plane) -> None:
        resource = Resource.create({SERVICE_NAME: SERVICE, SERVICE_VERSION: __version__})
        self._provider = TracerProvider(DEFAULT_ON, resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                _exporter(settings),
                max_queue_size=MAX_QUEUED,
                schedule_delay_millis=1000 * EXPORT_INTERVAL,
            )
        )
        self._tracer = self._provider.get_tracer("controlplane")
        self._plane = plane
        self._cause: ContextVar[_Cause | None] = ContextVar("cause", default=None)
        # Spans of what has changed since the last decision, and since the last refresh, of replicas
        # that start, and of decisions that no stream was told of yet.
        self._causes: dict[int, Span] = {}
        self._new: dict[int, Span] = {}
        self._starting: dict[tuple[str, str], Span] = {}
        self._decisions: list[tuple[Span, int]] = []
        self._streams: dict[Hashable, _Stream] = {}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Follow a request; one that changes nothing has no span."""
        if request.method not in _CHANGING:
            return await handler(request)
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else ""
        with self._causing(
            f"{request.method} {route}",
            kind=SpanKind.SERVER,
            context=TraceContextTextMapPropagator().extract(request.headers),
            attributes={
                "http.request.method": request.method,
                "http.route": route,
                "url.path": request.path,
            },
        ) as span:
            response = await handler(request)
            span.set_attribute("http.response.status_code", response.status)
            return response

    @contextmanager
    def change(self, name: str) -> Iterator[None]:
        """Name what happens inside as the cause of what it changes."""
        with self._causing(name):
            yield

    @contextmanager
    def _causing(self, name: str, **more: Any) -> Iterator[Span]:
        cause = _Cause(self._tracer.start_span(name, **more))
        token = self._cause.set(cause)
        try:
            yield cause.span
        finally:
            self._cause.reset(token)
            if cause.has_changed:
                cause.span.end()

    def changed(self, changes: Iterable[Change]) -> None:
        """The fleet has changed, in the context of the cause."""
        cause = self._cause.get()
        if cause is None:
            # Leases run out by themselves.
            with self._causing("lease"):
                self.changed(changes)
            return
        cause.has_changed = True
        self._causes[id(cause.span)] = self._new[id(cause.span)] = cause.span
        for change in islice(changes, MAX_STARTING):
            if change.replica is None:
                continue
            key = change.pool, change.replica
            if isinstance(change.after, Replica) and not self._is_shown(key):
                self._begin_start(key, cause.span)

    def _begin_start(self, key: tuple[str, str], cause: Span) -> None:
        pool, replica = key
        if len(self._starting) >= MAX_STARTING:
            del self._starting[next(iter(self._starting))]
        self._starting[key] = self._tracer.start_span(
            "start", set_span_in_context(cause), attributes={"pool": pool, "replica": replica}
        )

    def _is_shown(self, key: tuple[str, str]) -> bool | None:
        """Whether Envoys may know of a replica; None: it has gone."""
        pool, replica = key
        if pool not in self._plane.fleet.pools:
            return None
        known = self._plane.restart_state(pool, (replica,)).get(replica)
        return None if known is None else known[1]

    def deciding(self, name: str = DECISION) -> Callable[[bool], None]:
        """A decision or `REFRESH` begins; tell what is returned whether Envoys get anything new."""
        causes, self._new = [*self._new.values()], {}
        if name == DECISION:
            causes, self._causes = [*self._causes.values(), *self._begun_serving()], {}
        sampled = [each for each in causes if each.get_span_context().trace_flags.sampled]
        if not sampled:
            return lambda _is_new: None
        first, *others = sampled
        span = self._tracer.start_span(name, set_span_in_context(first))
        # The same decision in the traces of others, which leads to the pushes.
        link = Link(span.get_span_context())
        same = [
            self._tracer.start_span(name, set_span_in_context(each), links=[link])
            for each in others
        ]

        def made(is_new: bool) -> None:  # noqa: FBT001 - the one thing that there is to say
            for each in (span, *same):
                each.set_attribute("changes_envoys", is_new)
                each.end()
            if is_new:
                self._decisions.append((span, time.time_ns()))

        return made

    def _begun_serving(self) -> Iterator[Span]:
        """The starts of the replicas that Envoys may know of by now."""
        for key, span in [*self._starting.items()]:
            if (is_shown := self._is_shown(key)) is not False:
                del self._starting[key]
                if is_shown:
                    span.end()
                    yield span

    def begun(self, streams: Iterable[Hashable], noticed_at: float) -> None:  # noqa: ARG002
        """The xDS server begins to send the newest catalog to these."""
        decisions, self._decisions = self._decisions, []
        if not decisions:
            return
        for stream in streams:
            known = self._streams.setdefault(stream, _Stream())
            for decision, offered in decisions:
                if len(known.pushes) >= MAX_OPEN:
                    given_up = known.pushes.pop(0)
                    if any(at >= given_up.offered for at, _ in known.responses.values()):
                        _end(self._span_of(given_up, known), "not answered for while others came")
                known.pushes.append(_Push(decision, offered))

    def writing(self, stream: Hashable, node: str, event: events.Sent) -> None:
        """A response is about to be written to a node."""
        # A stream that is busy may be sent a catalog just before that begins.
        known = self._streams.setdefault(stream, _Stream())
        known.node = node
        known.responses[event.type_url] = time.time_ns(), event

    def happened(self, stream: Hashable, node: str, event: events.Event) -> None:  # noqa: ARG002
        """Something has happened on a stream."""
        if isinstance(event, events.Acknowledged):
            self._answered(stream, event.type_url)
        elif isinstance(event, events.Rejected):
            self._answered(stream, event.type_url, f"rejected: {event.message}")

    def _answered(self, stream: Hashable, type_url: str, failure: str | None = None) -> None:
        known = self._streams.get(stream)
        if known is None or type_url not in known.responses:
            return
        at, sent = known.responses.pop(type_url)
        spans = [self._span_of(push, known) for push in known.pushes if push.offered <= at]
        if not spans:
            return
        if failure is not None:
            for span in spans:
                span.set_status(StatusCode.ERROR, failure)
        response = self._tracer.start_span(
            type_url.rpartition(".")[2],
            set_span_in_context(spans[-1]),
            SpanKind.CLIENT,
            {
                "node_id": known.node,
                "version": sent.version,
                "resources": sent.resources,
                "removed": sent.removed,
                "bytes": sent.size,
            },
            # The response may also belong to earlier pushes.
            [Link(each.get_span_context()) for each in spans[:-1]],
            start_time=at,
        )
        _end(response, failure)

    def _span_of(self, push: _Push, known: _Stream) -> Span:
        if push.span is None:
            push.span = self._tracer.start_span(
                "push",
                set_span_in_context(push.decision),
                SpanKind.CLIENT,
                {"node_id": known.node},
                start_time=push.offered,
            )
        return push.span

    def settled(self, stream: Hashable) -> None:
        """A stream has, or has rejected, all that it should have of the newest catalog."""
        if (known := self._streams.pop(stream, None)) is not None:
            for push in known.pushes:
                _end(push.span)

    def gone(self, stream: Hashable) -> None:
        """A stream has ended."""
        failure = "the client has gone"
        if (known := self._streams.get(stream)) is not None:
            for type_url in [*known.responses]:
                self._answered(stream, type_url, failure)
            for push in known.pushes:
                _end(push.span, failure)
            del self._streams[stream]

    def stop(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def _end(span: Span | None, failure: str | None = None) -> None:
    if span is not None:
        if failure is not None:
            span.set_status(StatusCode.ERROR, failure)
        span.end()


def _exporter(settings: OtlpSettings) -> OTLPSpanExporter:
    tls = settings.tls
    if tls is None:
        return OTLPSpanExporter(str(settings.address), insecure=True, timeout=EXPORT_SECONDS)
    path = Path(SYSTEM_BUNDLE if tls.ca == SYSTEM else tls.ca)
    try:
        roots = read_file(path)
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read here, where the control plane needs it:"
            f" {error.strerror or error}",
            ("otlp", "tls", "ca"),
        ) from None
    name = tls.server_name or settings.address.host
    return OTLPSpanExporter(
        str(settings.address),
        insecure=False,
        credentials=grpc.ssl_channel_credentials(roots),
        channel_options=(("grpc.ssl_target_name_override", name),),
        timeout=EXPORT_SECONDS,
    )
