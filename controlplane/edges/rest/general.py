"""The endpoints that are about no pool: nodes, events, the audit log, metrics, probes."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import web

from controlplane.edges.rest.changes import answer, long_answer
from controlplane.edges.rest.general_answers import AuditView, Live, NodeList, Ready
from controlplane.edges.rest.node_view import nodes_view
from controlplane.edges.rest.operations import LAST_EVENT_ID, Operation
from controlplane.edges.rest.query import AuditPage, query_of
from controlplane.edges.rest.stream import EventStream
from controlplane.edges.turns import Turns
from controlplane.fleet import AuditLog
from controlplane.plane.envoys import Dispute
from controlplane.settings import Role
from controlplane.xds.nodes import NodeStatus

_UNREADY: Final = HTTPStatus.SERVICE_UNAVAILABLE


@dataclass(frozen=True, slots=True)
class General:
    """What is known of the control plane itself, and of who is connected.

    Attributes:
        nodes: The connected Envoys.
        events: Serves the changes.
        audit: Who changed what.
        ready: Whether Envoys are served.
        metrics: The exposition and its content type, for a request's ``Accept``.
        clock: Seconds that never go back; of the nodes.
        disputes: About the health of replicas, at a time of that clock.
    """

    nodes: Callable[[], Sequence[NodeStatus]]
    events: EventStream
    audit: AuditLog
    ready: Callable[[], bool]
    metrics: Callable[[str], Awaitable[tuple[bytes, str]]]
    clock: Callable[[], float]
    disputes: Callable[[float], Iterable[Dispute]]

    def operations(self) -> tuple[Operation, ...]:
        """The endpoints."""
        return (
            Operation(
                "listNodes",
                "GET",
                "/v1/nodes",
                Role.READ,
                "List the connected Envoys",
                self.get_nodes,
                {HTTPStatus.OK: NodeList},
            ),
            Operation(
                "followEvents",
                "GET",
                "/v1/events",
                Role.READ,
                "Follow what changes, as server-sent events",
                self.get_events,
                {HTTPStatus.OK: None},
                headers=(LAST_EVENT_ID,),
                problems=(HTTPStatus.SERVICE_UNAVAILABLE,),
                media="text/event-stream",
            ),
            Operation(
                "readAudit",
                "GET",
                "/v1/audit",
                Role.OPERATE,
                "Who changed what",
                self.get_audit,
                {HTTPStatus.OK: AuditView},
                query=AuditPage,
            ),
            Operation(
                "readMetrics",
                "GET",
                "/metrics",
                Role.READ,
                "Metrics of the control plane for Prometheus",
                self.get_metrics,
                {HTTPStatus.OK: None},
                media="text/plain",
            ),
            Operation(
                "isLive",
                "GET",
                "/livez",
                None,
                "Whether the process answers",
                self.get_live,
                {HTTPStatus.OK: Live},
            ),
            Operation(
                "isReady",
                "GET",
                "/readyz",
                None,
                "Whether Envoys are served",
                self.get_ready,
                {HTTPStatus.OK: Ready, _UNREADY: Ready},
            ),
        )

    async def get_nodes(self, _request: web.Request) -> web.Response:
        """Of each, what it was sent and has acknowledged of every type, and its last rejection."""
        now = self.clock()
        return await long_answer(await nodes_view(self.nodes(), now, self.disputes(now)))

    async def get_events(self, request: web.Request) -> web.StreamResponse:
        """First comes `state`, all pools as they are; then `pool` and `replica` for each change.

        A client that comes back with `Last-Event-ID` goes on after that event. When that is not
        possible any more it is told so by `missed`, and gets the present `state`. Changes are
        those of what is declared, of readiness, tier and draining; weights alone are none. A
        `node` is an Envoy that connects, leaves, or has rejected something.
        """
        return await self.events.serve(request)

    async def get_audit(self, request: web.Request) -> web.Response:
        """The newest first. Some thousand are kept, and outlive us; in the log each is a line."""
        query = query_of(request, AuditPage)
        entries, older = self.audit.page(query.limit, query.before)
        turns, found = Turns(), []
        for entry in entries:
            found.append(entry.data())
            await turns.give_way()
        return await long_answer({"entries": found, "next": older})

    async def get_metrics(self, request: web.Request) -> web.Response:
        """In Prometheus' text format, or in that of OpenMetrics where it is asked for."""
        accept = ",".join(request.headers.getall("Accept", ()))
        text, content_type = await self.metrics(accept)
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def get_live(self, _request: web.Request) -> web.Response:
        """For orchestrators; needs no token."""
        return answer({"live": True})

    async def get_ready(self, _request: web.Request) -> web.Response:
        """503 until enough was seen of the replicas to tell Envoys anything; needs no token.

        Without any pool it is ready: the API is what brings the first one.
        """
        if self.ready():
            return answer({"ready": True})
        return answer({"ready": False}, _UNREADY)
