"""KEDA's side of an external scaler: a client made from the interface that KEDA publishes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from controlplane.config import Address
from tests.processes import DEADLINE

SERVICE = "externalscaler.ExternalScaler"

_TYPES = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
}
# Fields by message, as in pkg/scalers/externalscaler/externalscaler.proto of kedacore/keda.
_MESSAGES: dict[str, tuple[tuple[str, int, str, bool], ...]] = {
    "ScaledObjectRef": (
        ("name", 1, "string", False),
        ("namespace", 2, "string", False),
        ("scalerMetadata", 3, "ScaledObjectRef.ScalerMetadataEntry", True),
    ),
    "IsActiveResponse": (("result", 1, "bool", False),),
    "GetMetricSpecResponse": (("metricSpecs", 1, "MetricSpec", True),),
    "MetricSpec": (
        ("metricName", 1, "string", False),
        ("targetSize", 2, "int64", False),
        ("targetSizeFloat", 3, "double", False),
    ),
    "GetMetricsRequest": (
        ("scaledObjectRef", 1, "ScaledObjectRef", False),
        ("metricName", 2, "string", False),
    ),
    "GetMetricsResponse": (("metricValues", 1, "MetricValue", True),),
    "MetricValue": (
        ("metricName", 1, "string", False),
        ("metricValue", 2, "int64", False),
        ("metricValueFloat", 3, "double", False),
    ),
}


def _field(
    of: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str, *, many: bool
) -> None:
    field = of.field.add(name=name, number=number)
    plain = descriptor_pb2.FieldDescriptorProto
    field.label = plain.LABEL_REPEATED if many else plain.LABEL_OPTIONAL
    if kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type, field.type_name = plain.TYPE_MESSAGE, f".externalscaler.{kind}"


def _made() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="externalscaler.proto", package="externalscaler", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if name == "ScaledObjectRef":
            entry = message.nested_type.add(name="ScalerMetadataEntry")
            entry.options.map_entry = True
            for number, key in enumerate(("key", "value"), 1):
                _field(entry, key, number, "string", many=False)
        for key, number, kind, many in fields:
            _field(message, key, number, kind, many=many)
    found = message_factory.GetMessages([file], pool=descriptor_pool.DescriptorPool())
    return {name.rpartition(".")[2]: kind for name, kind in found.items()}


MESSAGES = _made()


class Keda:
    """Asks as KEDA's operator does for one of its objects."""

    def __init__(self, channel: grpc.aio.Channel, **metadata: str) -> None:
        self._channel = channel
        self.ref = MESSAGES["ScaledObjectRef"](
            name="minilm", namespace="default", scalerMetadata=metadata
        )

    async def is_active(self) -> bool:
        return bool((await self._ask("IsActive", self.ref, "IsActiveResponse")).result)

    async def metric_spec(self) -> Any:
        return await self._ask("GetMetricSpec", self.ref, "GetMetricSpecResponse")

    async def metrics(self, name: str) -> Any:
        request = MESSAGES["GetMetricsRequest"](scaledObjectRef=self.ref, metricName=name)
        return await self._ask("GetMetrics", request, "GetMetricsResponse")

    async def activity(self, method: str = "StreamIsActive") -> AsyncIterator[bool]:
        call = self._channel.unary_stream(
            f"/{SERVICE}/{method}",
            request_serializer=MESSAGES["ScaledObjectRef"].SerializeToString,
            response_deserializer=MESSAGES["IsActiveResponse"].FromString,
        )
        async for answer in call(self.ref):
            yield answer.result

    async def _ask(self, method: str, request: Any, answer: str) -> Any:
        call = self._channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=MESSAGES[answer].FromString,
        )
        return await call(request, timeout=DEADLINE)


@asynccontextmanager
async def keda(address: Address, **metadata: str) -> AsyncIterator[Keda]:
    """Without TLS."""
    async with grpc.aio.insecure_channel(str(address)) as channel:
        yield Keda(channel, **metadata)
