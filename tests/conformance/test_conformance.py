"""The public conformance suite of xDS, against the server as the control plane runs it.

The suite is a client. It says by an adapter, a service of its own, what the server should have.
"""

import asyncio
import json
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from controlplane.config import Address
from controlplane.latest import Latest
from controlplane.resources.resource import Resource
from controlplane.xds import Offer, XdsServer, protocol
from tests.features.xds import FixedCatalog
from tests.processes import free_port, process
from tests.xds.snapshots import Fixed

HARNESS: Final = Path(os.environ.get("PLIMSOLL_XDS_HARNESS", "."))
"""The folder with its source, and the program ``harness``."""

VARIANTS: Final = {
    "sotw non-aggregated": 152,
    "sotw aggregated": 168,
    "incremental non-aggregated": 168,
    "incremental aggregated": 208,
}
"""With how many steps of scenarios each has."""

SETTLED: Final = 0.5
"""Seconds for what the suite's client has written, on its other connection, to come first."""


class Adapter:
    """Has the server serve what the suite asks for."""

    def __init__(self) -> None:
        self.offered: Latest[Offer | None] = Latest(None)
        self.versions: dict[str, str] = {}
        self._resources: defaultdict[str, dict[str, Resource]] = defaultdict(dict)
        self._salts = count()
        self._show()

    async def set_state(self, request: Any) -> None:
        self._resources.clear()
        for packed in request.resources:
            # The name is the first field of each of the four types, and all that is there.
            self._put(packed.type_url, packed.value[2:].decode(), request.version)
        self._show()

    async def clear_state(self, _: Any) -> None:
        self._resources.clear()
        self._show()

    async def put(self, request: Any) -> None:
        await asyncio.sleep(SETTLED)
        self._put(request.typeUrl, request.resourceName, request.version)
        self._show()

    async def remove(self, request: Any) -> None:
        await asyncio.sleep(SETTLED)
        del self._resources[request.typeUrl][request.resourceName]
        self._show()

    def _put(self, type_url: str, name: str, version: str) -> None:
        message = b"\x0a" + bytes([len(name)]) + name.encode()
        salt = str(next(self._salts)).encode()
        self._resources[type_url][name] = Resource.of(type_url, name, message, salt=salt)
        self.versions[type_url] = version

    def _show(self) -> None:
        shown = Fixed({url: dict(of_type) for url, of_type in self._resources.items()})
        self.offered.set(Offer(FixedCatalog(shown), time.monotonic()))


@asynccontextmanager
async def serving(adapter: Adapter) -> AsyncIterator[tuple[int, int]]:
    """Run the server and its adapter; yields the ports of both."""
    xds = XdsServer(Address("127.0.0.1", 0), adapter.offered, lambda _node, _event: None)
    target = await xds.start()
    sys.path.insert(0, str(HARNESS / "api" / "adapter"))
    messages = grpc.protos("adapter.proto")

    def method(
        request: str, response: str, action: Callable[[Any], Awaitable[None]]
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        async def answer(asked: Any, _: object) -> Any:
            await action(asked)
            return getattr(messages, response)()

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=getattr(messages, request).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    methods = {
        "SetState": method("SetStateRequest", "SetStateResponse", adapter.set_state),
        "ClearState": method("clearStateRequest", "clearStateResponse", adapter.clear_state),
        "UpdateResource": method("ResourceRequest", "UpdateResourceResponse", adapter.put),
        "AddResource": method("ResourceRequest", "AddResourceResponse", adapter.put),
        "RemoveResource": method("ResourceRequest", "RemoveResourceResponse", adapter.remove),
    }
    server, port = grpc.aio.server(), free_port()
    handler = grpc.method_handlers_generic_handler("adapter.Adapter", methods)
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield target.port, port
    finally:
        await server.stop(None)
        await xds.stop(grace=0)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("variant", VARIANTS)
async def test_all_scenarios_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    adapter = Adapter()
    for name in ("encode_delta", "encode_sotw"):
        encode = getattr(protocol, name)

        # Versions are hashes of contents, and the suite looks for those that it gave.
        def encoded(encode: Callable[..., bytes] = encode, **more: Any) -> bytes:
            return encode(**{**more, "version": adapter.versions.get(more["type_url"], "")})

        monkeypatch.setattr(protocol, name, encoded)
    shutil.copytree(HARNESS / "features", tmp_path / "features")
    monkeypatch.chdir(tmp_path)
    async with serving(adapter) as (target, port):
        options = ("--target", f":{target}", "--adapter", f":{port}", "--variant", variant)
        async with process(HARNESS / "harness", *options, log=tmp_path / "suite.log") as suite:
            assert await suite.wait() == 0, (tmp_path / "suite.log").read_text()
    found = json.loads((tmp_path / "results.json").read_text())
    (results,) = [each for each in found["ResultsByVariant"] if each["total"]]
    assert not results["failedScenarios"]
    assert results["passed"] == results["total"] == VARIANTS[variant]
