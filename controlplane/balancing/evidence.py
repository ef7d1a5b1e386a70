"""What a replica's requests say about its capacity: work done, and how long it was busy with it.

Two service models turn counters into these two numbers, and what was seen decides which of them:

*Slots*: c requests are computed at a time. With L requests in flight and the mean duration R such a
replica carries ``(c^q + L^q)^(1/q) / R`` requests per second with ``q = 1 + ½·log₂ c``: c/R when
idle, L/R = X when saturated; for one slot exact for the M/M/1 queue, for more within 10 % of M/M/c.

*Batches*: everything that waits is computed together, up to a budget of B tokens, in α + β·tokens
seconds. With h = α/β, the tokens that cost as much as starting a batch, one batch of n tokens that
took T seconds shows β = T / (n + h), and a full one carries B / (α + β·B) tokens per second.
"""

from typing import Final, NamedTuple

import numpy as np

from controlplane.balancing.columns import Bools, Floats

PER_LOOK: Final = 3.0
"""Requests that one look at what is in flight is worth at most; see docs/decisions/0012."""
PER_BATCH: Final = 8.0
"""Requests that one measured batch is worth, of batches of one size. Its duration has no chance in
it, but it is counted when it begins and timed when it ends, so one more or less is in doubt."""
LEAST_SAID: Final = 0.1
"""Part of what a batch is worth that a small one of unknown overhead is worth at least: a replica
that gets nothing else must not be held by an old estimate."""
TEXTS: Final = 32.0
"""Requests that are computed together at most where nobody counts batches (the default of Infinity
and of sentence-transformers): a queue that grows looks like ever fewer, ever larger batches."""
OVERHEAD: Final = 200.0
"""Tokens that cost as much as starting a batch, where nothing else is known."""
BUDGET: Final = 16_384.0
"""Tokens of a full batch, where no full one was seen (the default of text-embeddings-inference)."""
BESIDE: Final = 0.5
"""Bursts that are computed beside a request that comes to a busy server."""
SHORTEST: Final = 0.01
"""Least length that a request counts for, in usual ones: one without a token costs something."""
ONE_TEXT: Final = 1.05
"""Texts per request up to which requests are taken to have one."""
_BRIEFEST, _LONGEST = 1e-6, 1e6


class Counted(NamedTuple):
    """What was counted at some replicas over a while; each is a column.

    Attributes:
        requests: That ended.
        seconds: That these took altogether, waiting included.
        elapsed: Seconds in which they ended.
        tokens: Of theirs.
        looks: That `seconds` is summed over; NaN where durations were measured.
        batches: Computed meanwhile; NaN where nobody counts.
        batch_tokens: In these batches.
        middles: Sum over batches of the middle of the histogram bucket that each fell into.
        squares: The same of these middles squared.
        billed: Texts, or requests, that `batch_seconds` was added for.
        batch_seconds: Sum over them of the duration of the batch that each was in.
        text_middles: As `middles`, of the texts of batches; NaN where nobody counts.
        text_squares: As `squares`, of the texts of batches.
    """

    requests: Floats
    seconds: Floats
    elapsed: Floats
    tokens: Floats
    looks: Floats
    batches: Floats
    batch_tokens: Floats
    middles: Floats
    squares: Floats
    billed: Floats
    batch_seconds: Floats
    text_middles: Floats
    text_squares: Floats

    @property
    def token_squares(self) -> Floats:
        """Sum over batches of their tokens squared."""
        mean = self.batch_tokens / np.maximum(self.batches, 1e-9)
        scale = self.batch_tokens / np.maximum(self.middles, 1e-9)
        return np.maximum(self.squares * scale**2, mean * self.batch_tokens)

    @property
    def size(self) -> Floats:
        """Tokens of the batch that a text was in, on average.

        That is the sum over batches of texts times tokens, over all texts. Servers tell how texts
        and how tokens are distributed over batches, but not the two together. Where each request is
        one text, long and short texts fall into batches by chance, so a text's tokens do not depend
        on how many are beside it. Otherwise the larger the batch, the more of both it has, so their
        product is near its upper bound by Cauchy and Schwarz. Where only tokens are known, it is
        the batch that a token was in.
        """
        of_token = self.token_squares / np.maximum(self.batch_tokens, 1e-9)
        texts = self.text_middles
        beside = self.text_squares / np.maximum(texts, 1e-9)
        by_chance = beside * self.batch_tokens / np.maximum(self.billed, 1e-9)
        bound = np.sqrt(self.token_squares * self.text_squares) / np.maximum(texts, 1e-9)
        of_text = np.where(self.billed <= ONE_TEXT * self.requests, by_chance, bound)
        return np.where(texts > 0, np.minimum(of_text, of_token), of_token)

    @property
    def duration(self) -> Floats:
        """Seconds of the batch that a text was in, on average."""
        return self.batch_seconds / np.maximum(self.billed, 1e-9)

    def completed(self) -> "Counted":
        """Work out what a server that computes batches does not say of them.

        A request that comes while a batch is computed waits for half of it and is then in the next:
        it takes T·(1 + ρ/2) seconds where batches of T seconds keep the server busy ρ of the time.
        Where nobody counts batches, one holds the tokens that come in T seconds, and one request at
        least. Where they are counted, one takes no longer than there was time for: at a server that
        is never idle durations tell of the queue.
        """
        requests = np.maximum(self.requests, 1e-9)
        elapsed = np.maximum(self.elapsed, _BRIEFEST)
        one, rate = self.tokens / requests, self.tokens / elapsed
        took = np.clip(self.seconds / requests, _BRIEFEST, _LONGEST)
        counted = (self.batches > 0) & (self.batch_tokens > 0) & (self.middles > 0)
        per_second = np.where(counted, self.batches, requests) / elapsed
        seconds = took
        for _ in range(4):
            seconds = took / (1 + 0.5 * np.minimum(per_second * seconds, 1.0))
        # Requests see the larger batches.
        mean = np.where(counted, self.batch_tokens, 1.0) / np.where(counted, self.batches, 1.0)
        seconds = np.where(counted, np.minimum(seconds, self.size / mean / per_second), seconds)
        timed = (self.batch_seconds > 0) & (self.billed > 0)
        seconds = np.where(timed, self.duration, seconds)
        of_batch = self.tokens / np.where(self.batches > 0, self.batches, np.nan)
        size = np.fmax(np.maximum(one, rate * seconds), of_batch)
        return self._replace(
            batches=np.where(counted, self.batches, self.tokens / np.maximum(size, 1e-9)),
            batch_tokens=np.where(counted, self.batch_tokens, self.tokens),
            middles=np.where(counted, self.middles, self.tokens),
            squares=np.where(counted, self.squares, self.tokens * size),
            billed=np.where(timed, self.billed, self.requests),
            batch_seconds=np.where(timed, self.batch_seconds, self.requests * seconds),
        )

    @property
    def are_batches(self) -> Bools:
        """Where the durations of batches were measured."""
        known = (self.batches > 0) & (self.batch_tokens > 0) & (self.middles > 0)
        return np.asarray(known & (self.batch_seconds > 0) & (self.billed > 0))


def by_slots(counted: Counted, slots: Floats, sharing: Floats, usual: Floats) -> Floats:
    """Worth in requests, busy seconds and work in tokens, as three columns.

    Args:
        counted: Of each replica.
        slots: Requests that each computes at a time.
        sharing: How many replicas, 1 or more, are as good as one queue: an Envoy that compares
            live requests makes the replicas of a tier one queue in front of all their slots.
        usual: Tokens of a usual request at each.
    """
    requests = counted.requests
    # Looks that saw nothing do not say that there was nothing: half of one may have seen one.
    unseen = np.nan_to_num(counted.elapsed / counted.looks / 2, nan=0.0, posinf=0.0)
    latency = np.clip((counted.seconds + unseen) / requests, _BRIEFEST, _LONGEST)
    cores = slots * sharing
    load = sharing * latency * requests / np.maximum(counted.elapsed, _BRIEFEST)
    q = 1 + 0.5 * np.log2(cores)
    high, low = np.maximum(cores, load), np.minimum(cores, load)
    carried = high * (1 + (low / high) ** q) ** (1 / q) / latency / sharing
    length = counted.tokens / requests
    looks = np.where(np.isnan(counted.looks), np.inf, counted.looks)
    worth = np.minimum(requests, PER_LOOK * looks)
    work = requests * np.maximum(length, SHORTEST * usual)
    return np.column_stack([worth, requests / carried, work])


def by_batches(
    counted: Counted,
    overhead: Floats,
    budget: float,
    each: Floats,
    sure: Floats,
    fewest: Floats | float = 0.0,
) -> Floats:
    """Worth in requests, busy seconds and work in tokens, as three columns.

    Args:
        counted: Of each replica.
        overhead: Tokens that cost as much as starting a batch, h.
        budget: Tokens of a full batch, B.
        each: Requests that one batch is worth.
        sure: How far the overhead is known, or a wrong one would be wrong for all alike, 0 to 1:
            with 1 small batches count in full.
        fewest: Batches that there were at least.
    """
    size = counted.size
    per_token = counted.duration / (size + overhead)
    capacity = budget / (budget + overhead) / np.maximum(per_token, 1e-12)
    # A few large batches among many small ones are as good as those few, and where the start is
    # most of the time a batch says little about what a full one would take.
    effective = counted.batch_tokens**2 / np.maximum(counted.token_squares, 1e-9)
    effective = np.maximum(effective, fewest)
    part = np.maximum((size / np.maximum(size + overhead, 1e-9)) ** 2, LEAST_SAID)
    worth = each * effective * np.maximum(sure, part)
    return np.column_stack([worth, counted.batch_tokens / capacity, counted.batch_tokens])


def by_queue(counted: Counted, burst: Floats, sharing: Floats) -> Floats:
    """Tokens per second that a replica carries by how long its requests wait for each other.

    Where one request is much of a batch, requests wait for more than the running batch. With w
    tokens per second and a capacity of C they wait W = w·burst / (2·C·(C − w)) seconds on average
    (Pollaczek and Khinchine), which is solved for C. A request takes W and the time of its batch:
    where it comes to a busy server, which is w/C of the time, half a burst is computed beside it.

    Args:
        counted: Of each replica.
        burst: Tokens that come at once, E[x²]/E[x] of requests of x tokens; NaN: not known.
        sharing: See `by_slots`.
    """
    requests = np.maximum(counted.requests, 1e-9)
    latency = np.clip(counted.seconds / requests, _BRIEFEST, _LONGEST)
    rate = counted.tokens / np.maximum(counted.elapsed, _BRIEFEST)
    one = counted.tokens / requests
    capacity = rate + np.maximum(one, 1e-9) / latency
    beside = BESIDE * np.nan_to_num(burst)
    for _ in range(8):
        batch = one + np.minimum(rate / np.maximum(capacity, 1e-9), 1.0) * beside
        waits = np.maximum(latency - batch / np.maximum(capacity, 1e-9), 0.1 * latency) * sharing
        solved = rate / 2 + np.sqrt(rate**2 / 4 + rate * burst / (2 * waits))
        capacity = np.sqrt(capacity * solved)
    return capacity
