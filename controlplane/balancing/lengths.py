"""The stage that finds how many tokens requests have.

Envoys sample the bytes of request bodies, and servers count tokens, or do not. Where they count,
both together say how many bytes a token has: four in English prose, two in much of Asia's writing
and in code. Where nobody counts, four bytes are called a token; that is only a unit, as long as all
that is known of a pool is in the same one.
"""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from controlplane.balancing.columns import Floats
from controlplane.balancing.frame import Frame
from controlplane.balancing.table import BULK, DEFAULT
from controlplane.telemetry.sizes import HALF_LIFE, REMEMBERED, Side

LONGEST: Final = 0.999
"""Part of the requests that are no longer than what counts as the longest."""
UNKNOWN_LONGEST: Final = 20.0
"""Usual requests that the longest is taken for where no sizes are known."""
LENGTH_AFTER: Final = 100.0
"""Counted requests from which on their mean length is taken for the usual one."""
SAMPLES: Final = 20.0
"""Sampled requests from which on the same holds where only their bytes are known."""
OTHER_LENGTH: Final = 1.1
"""Factor from which on these have become longer or shorter."""
USUAL_LENGTH: Final = 100.0
"""Tokens that a request is taken for where nobody knows; it cancels out."""
BYTES_PER_TOKEN: Final = 4.0
"""Of English text, where nobody counts tokens."""
FEWEST: Final = 20.0
"""Counted requests of a replica that say how many bytes its tokens have."""
UNLIKE: Final = 3.0
"""Factor by which they may be more or fewer than at the replica in the middle."""
FEWEST_BYTES, MOST_BYTES = 1.0, 40.0
"""Bytes that a token has: a word is hardly ever as long as ten tokens."""
AROUND: Final = 40.0
"""Bytes of a request that are no text: JSON with the name of a model."""
LEAST_TEXT: Final = 0.25
"""Part of a request that is text, at least."""


def text_of(size: float) -> float:
    """Bytes of text in a body of so many bytes."""
    return max(size - AROUND, LEAST_TEXT * size)


def tokens_of(frame: Frame, size: float, name: str | None = None) -> float:
    """Tokens of a request by the bytes of its body.

    Args:
        frame: Of the decision.
        size: Bytes.
        name: Of its class; None: of any.
    """
    return text_of(size) / bytes_per_token(frame, name)


def squares_of(frame: Frame, side: Side, name: str | None = None) -> float:
    """Mean squared tokens of requests by the bytes of their bodies; see `tokens_of`."""
    square = side.squares / side.requests - 2 * AROUND * side.mean + AROUND**2
    least = tokens_of(frame, side.mean, name) ** 2
    return max(square / bytes_per_token(frame, name) ** 2, least)


def bytes_per_token(frame: Frame, name: str | None = None) -> float:
    """Bytes of text that are one token in requests of a class; None: of any.

    They differ: short requests have more JSON around their text, or are in another language.
    """
    known = frame.pool.bytes_per_token
    return known.get(name, known.get(None, BYTES_PER_TOKEN))


def measured(frame: Frame) -> None:
    """Find how long the requests of each replica are.

    For ended requests, set their mean tokens and E[x²]/E[x]; for requests in flight, their mean and
    longest.
    """
    _count(frame)
    known = _usual(frame)
    usual = known if known is not None else USUAL_LENGTH
    of_all, seen = frame.sizes, _sides(frame)
    means = {name: tokens_of(frame, side.mean, name) for name, (side, _) in seen.items()}
    squares = {name: squares_of(frame, side, name) for name, (side, _) in seen.items()}
    by_class = frame.table.mean_by_class(means)
    mean, square, longest = math.nan, math.nan, np.full(frame.size, UNKNOWN_LONGEST * usual)
    if of_all is not None and of_all.samples:
        mean, square = tokens_of(frame, of_all.mean), squares_of(frame, of_all.whole)
        longest = np.full(frame.size, tokens_of(frame, of_all.quantile(LONGEST)))
    are_known = ~np.isnan(by_class)
    frame.length = np.where(are_known, by_class, usual)
    of_class = np.where(are_known, frame.table.mean_by_class(squares) / by_class, square / mean)
    frame.burst = of_class
    # What is computed now may be of another class than what has ended.
    tokens, count, most = (np.zeros(frame.size) for _ in range(3))
    for name, (_, large) in seen.items():
        in_flight = frame.table.in_flight(name)
        count += in_flight
        tokens += in_flight * means[name]
        most = np.where(in_flight > 0, np.maximum(most, tokens_of(frame, large, name)), most)
    frame.in_flight_length = np.where(count > 0, tokens / np.maximum(count, 1.0), frame.length)
    frame.longest = np.where(count > 0, most, longest)


def _count(frame: Frame) -> None:
    """Find how many bytes a token has, by what Envoys sampled and replicas counted.

    Requests are counted by Envoys: servers do not agree on what one is, and some count each text.
    """
    ended, tokens = frame.table.column("ended"), frame.table.column("tokens")
    before, sizes = frame.state, frame.sizes
    frame.state = replace(before, tokens=tokens.copy())
    if frame.held is not None or sizes is None or sizes.samples < SAMPLES:
        return
    ended, tokens = ended - before.counted[:, 1], tokens - before.tokens
    goes_on = frame.alive & (ended >= 0) & (tokens >= 0)
    if not goes_on.any():
        return
    text = frame.table.mean_by_class(
        {name: text_of(side.mean) for name, (side, _) in _sides(frame).items()}
    )
    text = np.where(np.isnan(text), text_of(sizes.mean), text)
    sets = frame.sets_before()
    if newcomers := frame.pool.division.joined:
        joined = np.asarray([id_ in newcomers for id_ in frame.ids])
        sets = {name: rows & ~joined for name, rows in sets.items()}
    serves = np.zeros(frame.size, np.int64)
    for name, rows in sets.items():
        serves[rows] = hash(name)
    left = 0.5 ** ((frame.since or 0.0) / HALF_LIFE)
    added = np.column_stack([ended, ended * text, tokens])
    # What a replica counted of another class says nothing of this one.
    sums = left * np.where((serves == before.serves)[:, None], before.text, 0.0)
    sums += np.where(goes_on[:, None], added, 0.0)
    frame.state = replace(frame.state, text=sums, serves=serves)
    requests, of_bytes, of_tokens = sums.T
    known = frame.alive & (requests >= FEWEST) & (of_tokens > 0)
    found = dict(frame.pool.bytes_per_token)
    believed = np.zeros(frame.size, np.bool_)
    for name, rows in sets.items():
        if math.fsum(requests[rows & known]) < LENGTH_AFTER:
            continue
        # A replica that claims many more tokens than the others is not believed.
        ratio = of_bytes[rows & known] / of_tokens[rows & known]
        usual = float(np.median(ratio))
        believed[rows & known] = (ratio > usual / UNLIKE) & (ratio < usual * UNLIKE)
        found[name] = _ratio(sums[rows & believed], bytes_per_token(frame))
    # Of all requests they tell only where each class is there.
    if all((believed & rows).any() for rows in sets.values()):
        found[None] = _ratio(sums[believed])
    frame.pool = replace(frame.pool, bytes_per_token=found)


def _ratio(sums: Floats, before: float | None = None) -> float:
    """Bytes of a token, mixed with what was known before as of `LENGTH_AFTER` requests.

    Tokens are counted when they are computed, and requests when they end: of few requests there are
    too many tokens.
    """
    requests, of_bytes, of_tokens = map(float, sums.sum(axis=0))
    if before is not None:
        more = LENGTH_AFTER * of_bytes / requests
        of_bytes, of_tokens = of_bytes + more, of_tokens + more / before
    return min(max(of_bytes / of_tokens, FEWEST_BYTES), MOST_BYTES)


def _sides(frame: Frame) -> dict[str, tuple[Side, float]]:
    """The sizes of the requests of each class that were seen, and the longest of them, in bytes."""
    threshold, sizes = frame.pool.division.threshold, frame.sizes
    found: dict[str, tuple[Side, float]] = {}
    if sizes is not None and threshold is not None:
        split = sizes.split(threshold)
        below = 1 - split.requests_above
        found[DEFAULT] = split.below, sizes.quantile(LONGEST * below)
        found[BULK] = split.above, sizes.quantile(below + LONGEST * (1 - below))
    elif sizes is not None:
        for name, each in frame.class_sizes.items():
            found[name] = each.whole, each.quantile(LONGEST)
    return {name: each for name, each in found.items() if each[0].requests}


def _usual(frame: Frame) -> float | None:
    """Tokens of a request of the usual length.

    Where tokens are counted that is only a unit, so it stays what it was at first.
    """
    if frame.pool.counts_tokens:
        return frame.pool.length
    requests, tokens = frame.table.column("requests"), frame.table.column("tokens")
    known = frame.fresh & (tokens > 0) & (requests > 0)
    total = math.fsum(requests[known])
    if total >= LENGTH_AFTER:
        length = math.fsum(tokens[known]) / total
        frame.pool = replace(frame.pool, length=length, counts_tokens=True)
        return length
    nobody_counts = np.isnan(tokens[frame.alive]).all()
    if nobody_counts and frame.sizes is not None and frame.sizes.samples >= SAMPLES:
        length, before = tokens_of(frame, frame.sizes.mean), frame.pool.length
        if before is None or not 1 / OTHER_LENGTH < length / before < OTHER_LENGTH:
            frame.pool = replace(frame.pool, length=length)
            # The mean of few samples is mostly chance: what was learned had another unit.
            if before is None or frame.sizes.samples < REMEMBERED:
                records = frame.state.records.in_units(length / (before or USUAL_LENGTH))
                frame.state = replace(frame.state, records=records)
    return frame.pool.length
