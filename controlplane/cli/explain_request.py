"""Where one request went and why, from Envoy's access log or the headers of its answer.

Text in, sentences out; `context` asks the control plane for the pool and the replica's last hour.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from controlplane.cli.text import percent, shown
from controlplane.client import Client, History, HistoryEntry, NotFoundError, Pool, ServedClass
from controlplane.config.pool import EXPLAIN_HEADER
from controlplane.resources.classes import AT_GATEWAY, class_of, pool_of, retry_cluster_of

_PAIR: Final = re.compile(r"(?:^|\s)([a-z_]+)=(\S*)")
_HEADER: Final = re.compile(rf"^[<\s]*{EXPLAIN_HEADER}:(.*)", re.IGNORECASE)
_STATUS: Final = re.compile(r"^[<\s]*HTTP/[0-9.]+ ([0-9]{3})\b")
_RETRIES: Final = retry_cluster_of("")

_FLAGS: Final[Mapping[str, str]] = {
    "UH": "there is no healthy replica",
    "UF": "no connection to the replica",
    "UO": "a circuit breaker of Envoy's cluster is open",
    "NR": "no route for the request",
    "URX": "the last allowed retry failed, too",
    "NC": "the route's cluster does not exist",
    "DT": "the request or its connection lasted too long",
    "DC": "the client closed its connection",
    "LH": "Envoy's own health check fails",
    "UT": "no answer in time",
    "LR": "Envoy reset the stream",
    "UR": "the replica reset the stream",
    "UC": "the replica closed the connection during the request",
    "DI": "an injected delay",
    "FI": "an injected fault",
    "RL": "a rate limit",
    "UAEX": "an authorization service refused the request",
    "RLSE": "the rate limit service failed",
    "IH": "a header has a value that is not allowed",
    "SI": "the stream was idle for too long",
    "DPE": "the client's request is malformed",
    "UPE": "the replica's answer is malformed",
    "UMSDR": "the request's timeout is above the limit",
    "OM": "Envoy is close to its memory limit",
    "DF": "a DNS look-up failed",
    "DO": "the endpoints' drop_overload dropped the request",
    "UDO": "the pool has no replica; the request wakes it",
    "DR": "the client reset the stream",
}
"""https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage"""

_DETAILS: Final[Mapping[str, str]] = {
    "via_upstream": "the answer is the replica's own",
    "lua_response": "two replicas, or one while none answered any request, did not answer",
    "overload": "Envoy is close to its memory limit, plimsoll bootstrap --max-heap",
    "route_not_found": "the path is outside of the pool's route.prefix",
    "direct_response": "a gateway has no such pool, or the path is outside of its route.prefix",
    "response_timeout": "route.timeout has passed",
    "downstream_remote_disconnect": "the client did not wait for the answer",
    "CERTIFICATE_VERIFY_FAILED": "the replica's certificate is not trusted",
}
"""What a word in the details means; the first one that is there as a whole word counts."""


@dataclass(frozen=True, slots=True)
class Request:
    """What Envoy says of one answered request; None where it is unknown.

    Attributes:
        cluster: Of the pool and its class, or the cluster for their retries.
        attempts: 0: no replica was tried.
        duration_ms: From the request's first byte to the answer's last.
    """

    at: datetime | None = None
    status: int | None = None
    cluster: str | None = None
    replica: str | None = None
    upstream: str | None = None
    attempts: int | None = None
    flags: tuple[str, ...] = ()
    details: str | None = None
    duration_ms: float | None = None
    bytes_received: int | None = None
    path: str | None = None

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what `curl -i` prints or some of its lines, or the last line of an access log."""
        lines = text.splitlines()
        status, header = _headers(lines)
        if header is not None:
            return cls._of({**_pairs(header), "status": status})
        if status is not None:
            raise ValueError(
                f"the answer has no header {EXPLAIN_HEADER}: set route: {{explain: true}} of the"
                " pool, or give the request's line of the access log"
            )
        for line in reversed(lines):
            if (fields := _logged(line)) is not None:
                return cls._of(fields)
        raise ValueError(
            f"there is no header {EXPLAIN_HEADER} in it, and no line of an access log as"
            " plimsoll bootstrap --access-log has it"
        )

    @classmethod
    def _of(cls, fields: Mapping[str, Any]) -> Self:
        texts = {key: str(value) for key, value in fields.items() if value not in (None, "", "-")}
        return cls(
            at=_time(texts.get("time", "")),
            status=_whole(texts.get("status")),
            cluster=texts.get("cluster"),
            replica=texts.get("replica"),
            upstream=texts.get("upstream"),
            attempts=_whole(texts.get("attempts")),
            flags=tuple(filter(None, texts.get("flags", "").split(","))),
            details=texts.get("details"),
            duration_ms=_number(texts.get("duration_ms")),
            bytes_received=_whole(texts.get("bytes_received")),
            path=texts.get("path"),
        )

    @property
    def pool(self) -> str | None:
        return None if self.cluster is None else pool_of(self.cluster)

    @property
    def class_name(self) -> str:
        """The class that it was routed as; empty: the class of all other requests."""
        return "" if self.cluster is None else class_of(self.cluster)

    @property
    def is_retry(self) -> bool:
        """Whether the last try was not the first."""
        return self.cluster is not None and self.cluster.endswith(_RETRIES)

    def failures(self) -> Iterator[str]:
        """What went wrong, in sentences; nothing for a request that the first replica answered."""
        tries = self.attempts
        if tries == 0:
            yield "No replica was tried."
        elif tries is not None and tries > 1:
            yield (
                f"Envoy tried {tries} times, each time another replica where there was one; only"
                " the last is known."
            )
        elif self.is_retry:
            yield "This was a retry: another replica had not answered the request."
        for flag in self.flags:
            yield f"{flag}: {_FLAGS.get(flag, 'see the documentation of Envoy')}."
        if self.details is None or (self.details == "via_upstream" and not self.is_error):
            return
        words = re.split(r"\W+", self.details)
        known = next((text for word, text in _DETAILS.items() if word in words), None)
        yield f"{self.details}: {known}." if known else f"Envoy says: {self.details}."

    @property
    def is_error(self) -> bool:
        """Whether the answer is an error, or there is none."""
        return self.status is not None and (self.status == 0 or self.status >= 400)


def _headers(lines: Sequence[str]) -> tuple[str | None, str | None]:
    """The last status, and the header that goes with it.

    A body may hold anything, so nothing counts between the end of one answer's headers and the next
    status. Headers alone come without a status.
    """
    status = header = None
    is_in_head = True
    for line in lines:
        if (found := _STATUS.match(line)) is not None:
            status, header, is_in_head = found[1], None, True
        elif not line.strip("< "):
            is_in_head = status is None
        elif is_in_head and (found := _HEADER.match(line)) is not None:
            header = found[1]
    return status, header


def _pairs(text: str) -> dict[str, str]:
    """The first value of each key: what a client sent comes after what Envoy adds."""
    return dict(reversed(_PAIR.findall(text)))


def _logged(line: str) -> Mapping[str, Any] | None:
    """The fields of a line of an access log, whatever a collector has put before it."""
    start = line.find("{")
    try:
        fields = json.loads(line[start:]) if start >= 0 else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        fields = _pairs(line)
    if {"flags", "cluster"} <= fields.keys():
        return fields
    # A collector may have put the line into JSON of its own, as Docker does.
    texts = (value for value in fields.values() if isinstance(value, str) and value != line)
    return next((found for text in texts if (found := _logged(text)) is not None), None)


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _number(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _whole(text: str | None) -> int | None:
    found = _number(text)
    return None if found is None else int(found)


_SLACK: Final = 1.0
"""Seconds by which the clocks of an Envoy and the control plane may differ."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the control plane knows of a request: its pool, and the replica's last hour."""

    pool: Pool
    replica: str | None
    history: History | None


async def context(client: Client, request: Request, name: str) -> Context:
    """Ask for what the control plane knows of a request for the pool of this name."""
    pool = await client.pool(name)
    address, id_ = request.upstream, request.replica
    if id_ is None and address is not None:
        async for replica in client.each_replica(name):
            if address in (replica.address, replica.ingress):
                id_ = replica.id
                break
    if id_ is None or id_ == AT_GATEWAY:
        return Context(pool, None, None)
    try:
        return Context(pool, id_, await client.history(name, id_))
    except NotFoundError:
        return Context(pool, id_, None)


def in_force(request: Request, history: History | None) -> HistoryEntry | None:
    """The history's entry for the time of the request; None: it is not kept."""
    entries = history.entries if history is not None else ()
    if request.at is None:
        return entries[-1] if entries else None
    then = request.at.timestamp() + _SLACK
    before = [each for each in entries if datetime.fromisoformat(each.at).timestamp() <= then]
    return before[-1] if before else None


def request_lines(request: Request, known: Context) -> Iterator[str]:
    """Explain a request, the most important line first."""
    yield _headline(request, known)
    yield from (f"  {line}" for line in _of_class(request, known.pool))
    yield from (f"  {line}" for line in _of_replica(request, known))
    yield from (f"  {line}" for line in request.failures())


def _headline(request: Request, known: Context) -> str:
    status = {None: "status unknown", 0: "no answer"}.get(request.status, f"{request.status}")
    parts = [f"{known.pool.name}: {status}"]
    if known.replica is not None:
        at = f" at {request.upstream}" if request.upstream else ""
        parts.append(f"from replica {known.replica}{at}")
    if request.duration_ms is not None:
        parts.append(f"after {shown(request.duration_ms, ' ms')}")
    if request.at is not None:
        local = request.at.astimezone()
        parts.append(f"at {local:%H:%M:%S} {local.tzname()}")
    return ", ".join(parts)


def _of_class(request: Request, pool: Pool) -> Iterator[str]:
    served = _served_class(request, pool)
    if served is None and not request.class_name:
        if pool.parting is None:
            yield "Requests of the pool are not parted into classes."
        return
    if served is None:
        yield f"Class {request.class_name}; the pool has no such class any more."
        return
    which = f"requests {served.match}" if served.match else "all requests of no other class"
    size = ""
    if served.match and request.bytes_received is not None:
        size = f"; this one has {request.bytes_received} bytes"
    yield f"Class {served.name}: {which}{size}."


def _served_class(request: Request, pool: Pool) -> ServedClass | None:
    name = request.class_name
    for served in pool.parting or ():
        if served.name == name or (not name and served.match is None):
            return served
    return None


def _of_replica(request: Request, known: Context) -> Iterator[str]:
    if request.replica == AT_GATEWAY:
        yield f"It went through the gateway {request.upstream}, whose log knows the replica."
        return
    if known.replica is None:
        if request.upstream is not None:
            yield f"No replica of the pool has the address {request.upstream} any more."
        return
    if known.history is None:
        yield f"The pool has no replica {known.replica} any more."
        return
    entry = in_force(request, known.history)
    if entry is None:
        yield (
            f"What {known.replica} got then is unknown: the record holds an hour, and begins anew"
            " when the control plane starts."
        )
        return
    share = "an unknown share" if entry.share is None else percent(entry.share)
    tier = entry.tier or "no tier"
    since = datetime.fromisoformat(entry.at).astimezone()
    yield (
        f"Weights then, since {since:%H:%M:%S}: {known.replica} got {share} of the traffic with"
        f" weight {entry.weight} in {tier}, with a capacity of {shown(entry.capacity, ' req/s')};"
        f" {entry.serving} replica{'' if entry.serving == 1 else 's'} served."
    )
    served = _served_class(request, known.pool)
    if entry.classes and served is not None:
        if served.name in entry.classes:
            yield f"It served class {served.name} first."
        else:
            yield (
                f"It served class {', '.join(entry.classes)} first: requests of class"
                f" {served.name} come to it only where replicas of that class are not healthy, or"
                " have failed this request."
            )
    yield from entry.why
