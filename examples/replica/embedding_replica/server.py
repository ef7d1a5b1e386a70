"""The HTTP side of a replica: routes to the engine, and every failure to an OpenAI error."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from embedding_replica import openai, speed
from embedding_replica.batching import OverloadedError
from embedding_replica.engine import Engine, NotServingError, Phase
from embedding_replica.errors import ApiError
from embedding_replica.memory import OutOfMemoryError
from embedding_replica.metrics import Metrics
from embedding_replica.openai import Limits

# The most a request's body may hold, as in text-embeddings-inference, in bytes.
_BODY = 2_000_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """An error to answer with, and its name in ``te_request_failure``."""

    answer: ApiError
    reason: str


def failure(error: Exception) -> Failure | None:
    """Translate what the engine and the parser raise; None for what nobody foresaw."""
    match error:
        case ApiError():
            return Failure(error, "validation")
        case OverloadedError():
            answer = ApiError(429, f"{error}.", code="overloaded", retry_after=1)
            return Failure(answer, "overloaded")
        case OutOfMemoryError():
            # The status text-embeddings-inference gives to all failures of its backend.
            return Failure(ApiError(424, f"{error}.", code="out_of_memory"), "inference")
        case NotServingError(phase=Phase.LOADING):
            answer = ApiError(
                503, "The model is still loading.", code="model_loading", retry_after=1
            )
            return Failure(answer, "unhealthy")
        case NotServingError():
            answer = ApiError(
                503, "The server is shutting down.", code="shutting_down", retry_after=1
            )
            return Failure(answer, "unhealthy")
    return None


class Server:
    """The routes of one replica."""

    def __init__(self, engine: Engine, metrics: Metrics, limits: Limits) -> None:
        self._engine = engine
        self._metrics = metrics
        self._limits = limits
        self._created = int(time.time())

    def app(self) -> web.Application:
        """Build the application to serve."""
        app = web.Application(client_max_size=_BODY, middlewares=[_errors])
        app.add_routes(
            [
                web.post("/v1/embeddings", self._embeddings),
                web.get("/v1/models", self._models),
                web.get("/health", self._health),
                web.get("/metrics", self._exposition),
                web.get("/speed", self._speed),
                web.put("/speed", self._set_speed),
            ]
        )
        return app

    async def _embeddings(self, request: web.Request) -> web.Response:
        # The clock starts when the request is here: a client that sends slowly is no slow server.
        body = await _json_body(request)
        started = time.perf_counter()
        try:
            asked = openai.parse(body, self._limits)
            self._metrics.arrived(asked.method, len(asked.inputs))
            done = await self._engine.embed(asked.inputs)
        except Exception as error:
            failed = failure(error)
            self._metrics.failed(failed.reason if failed else "inference")
            if failed is None:
                raise
            raise failed.answer from error
        text = openai.response(asked, done.vectors, done.tokens, self._limits.model)
        self._metrics.succeeded(asked.method, time.perf_counter() - started, done)
        return web.Response(text=text, content_type="application/json")

    async def _models(self, _request: web.Request) -> web.Response:
        model = {
            "id": self._limits.model,
            "object": "model",
            "created": self._created,
            "owned_by": "sentence-transformers",
        }
        return web.json_response({"object": "list", "data": [model]})

    async def _health(self, _request: web.Request) -> web.Response:
        ready = self._engine.phase is Phase.READY
        return web.json_response({"status": self._engine.phase.value}, status=200 if ready else 503)

    async def _exposition(self, _request: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=self._metrics.exposition(), headers=headers)

    async def _speed(self, _request: web.Request) -> web.Response:
        return web.json_response({"speed": self._engine.speed})

    async def _set_speed(self, request: web.Request) -> web.Response:
        self._engine.speed = speed.parse(await _json_body(request))
        return await self._speed(request)


async def _json_body(request: web.Request) -> bytes:
    if request.content_type != "application/json":
        raise ApiError(
            415, "Send the body as Content-Type: application/json.", code="unsupported_media_type"
        )
    return await request.read()


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return _answer(error)
    except web.HTTPRequestEntityTooLarge:
        return _answer(ApiError(413, f"The body is larger than {_BODY} bytes.", code="too_large"))
    except web.HTTPMethodNotAllowed as error:
        message = f"{request.path} does not take {request.method}."
        allowed = ", ".join(sorted(error.allowed_methods))
        return _answer(ApiError(405, message, code="method_not_allowed"), {"Allow": allowed})
    except web.HTTPNotFound:
        return _answer(ApiError(404, f"There is nothing at {request.path}.", code="not_found"))
    except web.HTTPException:
        raise
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        return _answer(ApiError(500, "The server failed; its log says why.", code="internal"))


def _answer(error: ApiError, headers: dict[str, str] | None = None) -> web.Response:
    response = web.json_response(error.body(), status=error.status, headers=headers)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.code == "shutting_down":
        # The client's next request has to go elsewhere, so it should not keep this connection.
        response.force_close()
    return response
