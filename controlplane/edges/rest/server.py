"""The HTTP server: binds an address, and puts the guard and the error documents around the API."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from controlplane.edges.rest.body import MAX_BYTES
from controlplane.edges.rest.guard import guard
from controlplane.edges.rest.handlers import Api, Apply
from controlplane.edges.rest.problems import problems
from controlplane.plane import Plane
from controlplane.settings import Address
from controlplane.xds.nodes import NodeStatus

_LINGER: Final = 1.0
"""Seconds for a client to finish a body that was refused, so that it reads why."""


class BindError(OSError):
    """The address to serve on cannot be had."""


class RestServer:
    """The REST API. `start` it, and `stop` it before the event loop ends."""

    def __init__(
        self,
        address: Address,
        plane: Plane,
        *,
        apply: Apply,
        nodes: Callable[[], Sequence[NodeStatus]],
        ready: Callable[[], bool],
        metrics: Callable[[str], tuple[bytes, str]],
        token: str | None = None,
        read_timeout: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare a server.

        Args:
            address: To serve on; port 0 takes a free one.
            plane: What is served.
            apply: Carries out a command at a time; what it has done outlives us.
            nodes: The connected Envoys.
            ready: Whether Envoys are served.
            metrics: The exposition and its content type, for a request's ``Accept``.
            token: That every request must carry; without one only this machine is answered.
            read_timeout: Seconds for the body of a request to arrive.
            clock: Seconds that never go back; the one of the plane and of the nodes.
        """
        self._address = address
        self._token = token
        self._api = Api(plane, apply, nodes, ready, metrics, read_timeout, clock)
        self._runner: web.AppRunner | None = None

    async def start(self) -> Address:
        """Begin to serve.

        Returns:
            The address served on, with the real port.

        Raises:
            BindError: When the address is in use or cannot be bound.
        """
        app = web.Application(middlewares=(problems, guard(self._token)), client_max_size=MAX_BYTES)
        app.add_routes(self._api.routes())
        # Bodies are small, so none is taken compressed: what was not unpacked is no bomb.
        runner = web.AppRunner(app, access_log=None, auto_decompress=False, lingering_time=_LINGER)
        await runner.setup()
        site = web.TCPSite(runner, self._address.host, self._address.port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            # asyncio words the error with the address as well; a failed look-up's code is negative.
            code = error.errno or 0
            reason = os.strerror(code).lower() if code > 0 else "its name cannot be looked up"
            raise BindError(f"cannot serve the API on {self._address}: {reason}") from None
        self._runner = runner
        return Address(self._address.host, site.port)

    async def stop(self, grace: float) -> None:
        """Take no new connections and end the open ones, by force after `grace` seconds."""
        if self._runner is None or self._runner.server is None:
            return
        for site in self._runner.sites:
            await site.stop()
        self._runner.server.pre_shutdown()
        # It waits twice: for a handler to end, and for its cancellation to.
        await self._runner.server.shutdown(grace / 2)
        await self._runner.cleanup()
        self._runner = None
