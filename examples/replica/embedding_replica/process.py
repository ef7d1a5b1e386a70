"""A replica as a process: opens its port, loads behind it, serves, and leaves when told to."""

from __future__ import annotations

import asyncio
import errno
import re
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry

from embedding_replica.engine import Engine
from embedding_replica.memory import Memory, OutOfMemoryError
from embedding_replica.metrics import Metrics
from embedding_replica.model import Model, ModelMissingError, architecture, model_folder
from embedding_replica.openai import Limits
from embedding_replica.options import Options, gpu_uuid
from embedding_replica.registration import Place, Registration
from embedding_replica.server import Server

# What an answer that is computed gets to reach its client, in seconds.
_LAST_WORDS = 1.0


class StartError(Exception):
    """The replica cannot run here; the text says why in one sentence."""


def say(line: str) -> None:
    """Tell the person who started the process, without delay."""
    sys.stderr.write(f"replica: {line}\n")
    sys.stderr.flush()


async def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight.

    Raises:
        StartError: The port is taken, or the model is missing or does not fit.
    """
    try:
        folder = model_folder()
    except ModelMissingError as error:
        raise StartError(str(error)) from error
    token = _token(options)
    sizes = architecture(folder)
    memory = None if options.gpu_memory is None else Memory(options.gpu_memory)
    engine = Engine(
        budget=options.max_batch_tokens,
        permits=options.max_concurrent_requests,
        speed=options.speed,
        memory=memory,
    )
    metrics = Metrics(waiting=lambda: engine.waiting, registry=CollectorRegistry())
    engine.on_batch = metrics.batch
    limits = Limits(
        model=options.model_name,
        batch=options.max_client_batch_size,
        vocabulary=sizes.vocabulary,
        dimensions=sizes.hidden,
    )
    runner = web.AppRunner(
        Server(engine, metrics, limits).app(),
        access_log=None,
        # A client that has gone leaves the queue, as in text-embeddings-inference.
        handler_cancellation=True,
        shutdown_timeout=_LAST_WORDS,
    )
    await runner.setup()
    uuid = None
    try:
        port = await _listen(runner, options)
        if memory is not None:
            uuid = options.gpu_uuid or gpu_uuid(options.host, port)
            metrics.show_gpu(uuid, lambda: engine.memory or memory)
        say(f"listening on http://{options.host}:{port}, loading {options.model_name}")
        place = _place(options, port, uuid, token)
        await _serve(engine, lambda: Model.load(folder), options, place)
    finally:
        await runner.cleanup()
        engine.close()


async def _listen(runner: web.AppRunner, options: Options) -> int:
    try:
        await web.TCPSite(runner, options.host, options.port).start()
    except OSError as error:
        where = f"port {options.port} on {options.host}"
        if error.errno == errno.EADDRINUSE:
            raise StartError(f"{where} is already in use") from error
        raise StartError(f"cannot listen to {where}: {error.strerror}") from error
    port: int = runner.addresses[0][1]
    return port


def _token(options: Options) -> str | None:
    if options.token_file is None:
        return None
    try:
        return Path(options.token_file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"the token cannot be read: {error}") from error


def _place(options: Options, port: int, uuid: str | None, token: str | None) -> Place | None:
    """Where to register; None where nobody asked for it."""
    if options.register is None:
        return None
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = options.advertise or f"{host}:{port}"
    # What is left of an address in a name that an id may have.
    name = options.replica_id or re.sub(r"[^A-Za-z0-9.]+", "-", address).strip("-")
    url = f"{options.register}/replicas/{name}"
    return Place(url, address, options.ttl, gpu=uuid, token=token)


async def _serve(
    engine: Engine, read: Callable[[], Model], options: Options, place: Place | None
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    started = time.perf_counter()
    loading = asyncio.create_task(engine.load(read, options.load_seconds))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        try:
            await loading
        except OutOfMemoryError as error:
            raise StartError(str(error)) from error
        say(f"ready after {time.perf_counter() - started:.1f} s")
        if place is not None:
            await _member(place, stopping, engine, options)
            return
        await stopping
    loading.cancel()
    await _finish(engine.drain(), options)


async def _member(
    place: Place, stopping: asyncio.Task[bool], engine: Engine, options: Options
) -> None:
    """Be registered until told to stop; then leave before anything is refused."""
    # No proxy of the environment stands between a replica and its control plane.
    async with aiohttp.ClientSession(trust_env=False) as session:
        registration = Registration(place, session, say)
        keeping = asyncio.create_task(registration.keep())

        async def leave() -> None:
            drained = await registration.leave(
                lambda: engine.arrived, lambda: engine.in_flight, options.quiet
            )
            say("drained" if drained else "not drained: Envoys see it by the health check alone")
            await engine.drain()

        try:
            await stopping
            await _finish(leave(), options)
        finally:
            keeping.cancel()
            await registration.delete()


async def _finish(work: Coroutine[Any, Any, None], options: Options) -> None:
    try:
        async with asyncio.timeout(options.grace):
            await work
    except TimeoutError:
        say(f"cutting off what is still in flight after {options.grace:g} s")
