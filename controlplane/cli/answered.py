"""A request that was answered, as a line of Envoy's access log or the header of its answer has it.

Pure: text in, values and sentences out.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from controlplane.config.pool import EXPLAIN_HEADER
from controlplane.resources.classes import class_of, pool_of, retry_cluster_of

_PAIR: Final = re.compile(r"(?:^|\s)([a-z_]+)=(\S*)")
_HEADER: Final = re.compile(rf"^[<\s]*{EXPLAIN_HEADER}:(.*)", re.IGNORECASE)
_STATUS: Final = re.compile(r"^[<\s]*HTTP/[0-9.]+ ([0-9]{3})\b")
_RETRIES: Final = retry_cluster_of("")

_FLAGS: Final[Mapping[str, str]] = {
    "UH": "no replica could be chosen: there is none, or none is healthy",
    "UF": "no connection to the replica",
    "UO": "a circuit breaker of Envoy's cluster is open",
    "NR": "no route for the request",
    "URX": "the last try that is allowed failed as well",
    "NC": "the cluster of the route is not there",
    "DT": "the request or its connection lasted longer than it may",
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
    "SI": "nothing moved on the stream for too long",
    "DPE": "the client's request is malformed",
    "UPE": "the replica's answer is malformed",
    "UMSDR": "the client may not wait so long",
    "OM": "Envoy is close to its memory limit",
    "DF": "a name could not be looked up",
    "DO": "requests are dropped, as the endpoints say",
    "UDO": "the pool has no replica; the request wakes it",
    "DR": "the client reset the stream",
}
"""https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage"""

_DETAILS: Final[Mapping[str, str]] = {
    "via_upstream": "the replica itself answered so",
    "lua_response": "two replicas left the request without an answer; it is not tried any more",
    "overload": "Envoy is close to the memory limit of plimsoll bootstrap --max-heap",
    "route_not_found": "the path is outside of the pool's route.prefix",
    "direct_response": "a gateway has no such pool, or the path is outside of its route.prefix",
    "response_timeout": "route.timeout was over",
    "downstream_remote_disconnect": "the client did not wait for the answer",
    "CERTIFICATE_VERIFY_FAILED": "the replica's certificate is not trusted",
}
"""What such a word in the details means; the first that is there counts."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What is known of one request; None where it is not.

    Attributes:
        at: When it came.
        status: Of the answer.
        cluster: Of the pool and its class, or the one for their further tries.
        replica: Id of the replica that was asked last.
        upstream: Its address.
        attempts: How often it was tried; 0: no replica was.
        flags: Envoy's response flags.
        details: Envoy's words.
        duration_ms: From its first byte to the last of the answer.
        bytes_received: Of its body.
        path: As the client sent it.
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
        """Read an answer with its headers, or the last line of an access log in it.

        Args:
            text: What `curl -i` prints, some of its lines, or lines of the log as JSON or text.

        Raises:
            ValueError: With one sentence, when it is neither.
        """
        lines = text.splitlines()
        status, header = _headers(lines)
        if header is not None:
            return cls._of({**dict(_pairs(header)), "status": status})
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
        known = {key: it for key, it in fields.items() if it not in (None, "", "-")}
        texts = {key: str(it) for key, it in known.items()}
        flags = texts.get("flags", "")
        return cls(
            at=_time(texts.get("time", "")),
            status=_whole(texts.get("status")),
            cluster=texts.get("cluster"),
            replica=texts.get("replica"),
            upstream=texts.get("upstream"),
            attempts=_whole(texts.get("attempts")),
            flags=tuple(it for it in flags.split(",") if it),
            details=texts.get("details"),
            duration_ms=_number(texts.get("duration_ms")),
            bytes_received=_whole(texts.get("bytes_received")),
            path=texts.get("path"),
        )

    @property
    def pool(self) -> str | None:
        """The name of the pool."""
        return None if self.cluster is None else pool_of(self.cluster)

    @property
    def class_name(self) -> str:
        """The class that it was routed as; empty for the one of all requests of no other class."""
        return "" if self.cluster is None else class_of(self.cluster)

    @property
    def is_further_try(self) -> bool:
        """Whether the last try was not the first."""
        return self.cluster is not None and self.cluster.endswith(_RETRIES)

    def failures(self) -> Iterator[str]:
        """What went wrong, in sentences; nothing for a request that the first replica answered."""
        tries = self.attempts
        if tries == 0:
            yield "No replica was tried."
        elif tries is not None and tries > 1:
            yield (
                f"It took {tries} tries, each at another replica as far as there are some; Envoy"
                " names the last one alone."
            )
        elif self.is_further_try:
            yield "It was tried before at another replica, which did not answer it."
        for flag in self.flags:
            yield f"{flag}: {_FLAGS.get(flag, 'see the documentation of Envoy')}."
        if self.details is None or (self.details == "via_upstream" and not self.is_error):
            return
        known = next((it for word, it in _DETAILS.items() if word in self.details), None)
        yield f"{self.details}: {known}." if known else f"Envoy says: {self.details}."

    @property
    def is_error(self) -> bool:
        """Whether the answer is an error, or there is none."""
        return self.status is not None and (self.status == 0 or self.status >= 400)


def _headers(lines: Sequence[str]) -> tuple[str | None, str | None]:
    """The last status, and what the header says that goes with it.

    A body may have anything in it, so nothing counts between the end of one answer's headers and
    the next status. Headers alone come without a status.
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


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """The first value of each key: what a client says stands behind what Envoy says."""
    seen = set()
    for key, value in _PAIR.findall(text):
        if key not in seen:
            seen.add(key)
            yield key, value


def _logged(line: str) -> Mapping[str, Any] | None:
    """The fields of a line of an access log, whatever a collector has put before it."""
    start = line.find("{")
    try:
        fields = json.loads(line[start:]) if start >= 0 else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        fields = dict(_pairs(line))
    return fields if {"flags", "cluster"} <= fields.keys() else None


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
