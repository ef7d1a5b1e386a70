"""Registering with the control plane: a lease that is kept alive, and leaving without a loss.

What a replica of one's own has to do is here, in the order in which it happens: put itself once it
can serve, send a heartbeat well before each lease runs out, put itself again where it is no longer
known; at the end drain itself, go on serving until nothing more comes, and delete itself.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp

# Seconds for one answer of the control plane.
_ANSWER = aiohttp.ClientTimeout(total=2.0)

# Seconds before the first repetition of what failed; they double up to a third of the lease.
_FIRST_PAUSE = 0.2

# Tries at the end to be drained and to be deleted: a control plane that is down is not waited for.
_LAST_TRIES = 3

# Seconds between two looks whether anything has come.
_LOOK = 0.05


class RegistrationError(Exception):
    """The control plane did not do what it was asked; the text says why."""


@dataclass(frozen=True)
class Place:
    """What a replica registers as.

    Attributes:
        url: Of the replica in the API: ``http://HOST:PORT/v1/pools/POOL/replicas/ID``.
        address: Where Envoys reach it, ``host:port``.
        ttl: Seconds that its lease lasts.
        gpu: UUID of its GPU; None where it has none.
        token: For the API; None where it needs none.
        instance: Differs for each process: the next one on this port is not taken for this one.
    """

    url: str
    address: str
    ttl: float
    gpu: str | None = None
    token: str | None = None
    instance: str = field(default_factory=lambda: uuid.uuid4().hex)

    def body(self) -> dict[str, object]:
        """What is put."""
        gpu = {} if self.gpu is None else {"gpu": {"uuid": self.gpu}}
        return {
            "address": self.address,
            "ttl": f"{self.ttl:g}s",
            "instance": self.instance,
            **gpu,
        }


class Registration:
    """One process's place in a pool."""

    def __init__(
        self,
        place: Place,
        session: aiohttp.ClientSession,
        say: Callable[[str], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            place: What to register as.
            session: To ask with.
            say: Told what changes: registered, no answer, registered again.
            sleep: Waits for some seconds.
        """
        self._place = place
        self._session = session
        self._say = say
        self._sleep = sleep
        self._is_leaving = False

    async def keep(self) -> None:
        """Be registered until cancelled, however often the control plane comes and goes."""
        interval = self._place.ttl / 3
        is_known, pause, said = False, _FIRST_PAUSE, ""
        while True:
            try:
                if is_known:
                    is_known = await self._heartbeat()
                if not is_known and not self._is_leaving:
                    await self._ask("PUT", "", self._place.body())
                    self._say(f"registered at {self._place.url}")
                    is_known = True
            except RegistrationError as error:
                if str(error) != said:
                    self._say(f"{error}; trying again")
                said = str(error)
                # Replicas that lost the same control plane do not all come back to it at once.
                await self._sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                pause = min(pause * 2, interval)
            else:
                pause, said = _FIRST_PAUSE, ""
                await self._sleep(interval)

    async def leave(
        self, arrived: Callable[[], int], in_flight: Callable[[], int], quiet: float
    ) -> bool:
        """Have no more requests sent, and wait until none comes and none is in flight.

        `keep` must go on meanwhile: a lease that runs out would have the replica removed while it
        still computes.

        Args:
            arrived: How many requests have come so far.
            in_flight: How many are not answered yet.
            quiet: Seconds in which none may have come; each Envoy hears of it within them.

        Returns:
            Whether the control plane has drained it; if not, Envoys only see its health.
        """
        self._is_leaving = True
        if not await self._at_last("POST", "/drain"):
            return False
        # The clock starts when the drain is known, not before: a quiet pool proves nothing.
        loop = asyncio.get_running_loop()
        since, seen = loop.time(), arrived()
        while loop.time() - since < quiet:
            await self._sleep(_LOOK)
            if in_flight() or arrived() != seen:
                since, seen = loop.time(), arrived()
        return True

    async def delete(self) -> None:
        """Be forgotten; where that fails, the end of the lease does it."""
        await self._at_last("DELETE", "")

    async def _heartbeat(self) -> bool:
        """Renew the lease; False where nobody knows of it any more."""
        status = await self._ask("POST", "/heartbeat", None, 404, 409)
        return status == 200

    async def _at_last(self, method: str, path: str) -> bool:
        """Ask a few times; True once it was done."""
        for attempt in range(_LAST_TRIES):
            try:
                return await self._ask(method, path, None, 404) != 404
            except RegistrationError as error:
                self._say(str(error))
                await self._sleep(_FIRST_PAUSE * 2**attempt)
        return False

    async def _ask(self, method: str, path: str, body: object, *accepted: int) -> int:
        """Ask the control plane; returns the status, a good one or one of `accepted`.

        Raises:
            RegistrationError: There is no answer, or another one.
        """
        url = f"{self._place.url}{path}"
        token = self._place.token
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            async with self._session.request(
                method, url, json=body, headers=headers, timeout=_ANSWER, allow_redirects=False
            ) as answer:
                if answer.status < 300 or answer.status in accepted:
                    return answer.status
                said = (await answer.text())[:300].strip()
                raise RegistrationError(f"{method} {url} answered {answer.status}: {said}")
        except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError) as error:
            reason = str(error) or "no answer in time"
            raise RegistrationError(f"{method} {url}: {reason}") from None
