"""A small OpenTelemetry collector: it keeps what Envoys send it over OTLP."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.processes import free_port


def attributes(of: Iterable[KeyValue]) -> dict[str, str]:
    """The attributes of a span or a record that are text."""
    return {item.key: item.value.string_value for item in of}


@dataclass
class Collector:
    """What came.

    Attributes:
        port: Where it listens.
        spans: In the order in which they came.
        records: Of requests.
        services: The names of the services that sent spans.
    """

    port: int
    spans: list[Span] = field(default_factory=list)
    records: list[LogRecord] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def of_trace(self, trace: str) -> list[Span]:
        """The spans of a trace."""
        return [span for span in self.spans if span.trace_id.hex() == trace]

    async def take_spans(
        self, request: traces.ExportTraceServiceRequest, _: object
    ) -> traces.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            self.services.add(attributes(resource.resource.attributes)["service.name"])
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return traces.ExportTraceServiceResponse()

    async def take_records(
        self, request: logs.ExportLogsServiceRequest, _: object
    ) -> logs.ExportLogsServiceResponse:
        for resource in request.resource_logs:
            self.records += [
                record for scope in resource.scope_logs for record in scope.log_records
            ]
        return logs.ExportLogsServiceResponse()


@asynccontextmanager
async def collecting(
    credentials: grpc.ServerCredentials | None = None,
) -> AsyncIterator[Collector]:
    """Run a collector until the context closes; without credentials it speaks plain text."""
    collector, server = Collector(free_port()), grpc.aio.server()
    services = (
        ("trace.v1.TraceService", collector.take_spans, traces.ExportTraceServiceRequest),
        ("logs.v1.LogsService", collector.take_records, logs.ExportLogsServiceRequest),
    )
    for service, take, request in services:
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
            take,
            request_deserializer=request.FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )
        name = f"opentelemetry.proto.collector.{service}"
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(name, {"Export": handler})]
        )
    if credentials is None:
        server.add_insecure_port(collector.address)
    else:
        server.add_secure_port(collector.address, credentials)
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(0)
