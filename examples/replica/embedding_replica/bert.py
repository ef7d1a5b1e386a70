"""The arithmetic of a BERT encoder in numpy: weights and token ids in, hidden states out.

Pure. The architecture is Devlin et al., "BERT" (https://arxiv.org/abs/1810.04805), whose block is
Vaswani et al., "Attention Is All You Need" (https://arxiv.org/abs/1706.03762), in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

# Rows of a feed-forward block that go through GELU at once: its dozen passes then stay in cache.
_GELU_ROWS = 32

# Up to so many rows a product's time goes into reading the weights, and OpenBLAS 0.3 takes a
# third less for it with the weights on the left; with more rows it takes longer that way.
_FEW_ROWS = 64


@dataclass(frozen=True)
class Architecture:
    """The sizes of an encoder, as its config.json states them."""

    vocabulary: int
    layers: int
    hidden: int
    heads: int
    intermediate: int
    epsilon: float

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> Architecture:
        """Read the sizes from a Hugging Face config.json that has been parsed."""
        return cls(
            vocabulary=int(str(config["vocab_size"])),
            layers=int(str(config["num_hidden_layers"])),
            hidden=int(str(config["hidden_size"])),
            heads=int(str(config["num_attention_heads"])),
            intermediate=int(str(config["intermediate_size"])),
            epsilon=float(str(config["layer_norm_eps"])),
        )

    def activation_bytes(self, texts: int, length: int) -> int:
        """Bytes of float32 activations alive at the widest point of a layer.

        Layers reuse each other's memory, so the widest point of one is the peak of all. A token
        holds its residual and its row of the widest of two stages: in attention queries, keys,
        values, context (4 * hidden) and its scores before and after the softmax
        (2 * heads * length); in the feed-forward block that block before and after GELU
        (2 * intermediate).

        Args:
            texts: How many texts the batch holds.
            length: Tokens each is padded to.
        """
        attention = 4 * self.hidden + 2 * self.heads * length
        per_token = self.hidden + max(attention, 2 * self.intermediate)
        return texts * length * per_token * np.dtype(np.float32).itemsize


@dataclass(frozen=True)
class Linear:
    """An affine map, stored as its checkpoint does: weight (out, in), bias (out)."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """Map (..., in) to (..., out)."""
        # One flat product, since numpy would multiply a stack text by text.
        flat = x.reshape(-1, x.shape[-1])
        if len(flat) <= _FEW_ROWS:
            # The addition puts the product, which comes by columns, back into row order.
            y: Floats = np.add((self.weight @ flat.T).T, self.bias, order="C")
        else:
            y = flat @ self.weight.T
            y += self.bias
        return y.reshape(*x.shape[:-1], -1)


@dataclass(frozen=True)
class Norm:
    """Layer normalisation over the last axis (https://arxiv.org/abs/1607.06450)."""

    gain: Floats
    bias: Floats
    epsilon: float

    def __call__(self, x: Floats) -> Floats:
        """Normalise the rows of x, in place."""
        x -= x.mean(axis=-1, keepdims=True)
        variance = np.square(x).mean(axis=-1, keepdims=True)
        x /= np.sqrt(variance + np.float32(self.epsilon))
        x *= self.gain
        x += self.bias
        return x


@dataclass(frozen=True)
class Layer:
    """One block: attention and feed-forward, each followed by add and norm."""

    queries_keys_values: Linear
    attended: Linear
    attended_norm: Norm
    widen: Linear
    narrow: Linear
    narrow_norm: Norm


@dataclass(frozen=True)
class Bert:
    """An encoder with its weights.

    Attributes:
        words: (vocabulary, hidden).
        positions: (longest text, hidden), the first segment's embedding already added.
        norm: Applied to the sum of the two.
        layers: From the input up.
    """

    architecture: Architecture
    words: Floats
    positions: Floats
    norm: Norm
    layers: tuple[Layer, ...]

    def __call__(self, ids: Ids, mask: NDArray[np.bool_]) -> Floats:
        """Compute the last hidden states.

        Args:
            ids: Token ids, (texts, length).
            mask: True where a token is, False where there is padding, (texts, length).

        Returns:
            (texts, length, hidden); rows of padding hold no meaning.
        """
        hidden = self.norm(self.words[ids] + self.positions[: ids.shape[1]])
        # Added to the scores: a padded key gets no attention from anyone.
        bias = np.where(mask, np.float32(0), np.float32(-np.inf))[:, None, None, :]
        for layer in self.layers:
            context = _attention(layer.queries_keys_values(hidden), bias, self.architecture.heads)
            hidden = layer.attended_norm(hidden + layer.attended(context))
            hidden = layer.narrow_norm(hidden + layer.narrow(gelu(layer.widen(hidden))))
        return hidden


def _attention(projected: Floats, bias: Floats, heads: int) -> Floats:
    """Scaled dot-product attention; (texts, length, 3 * hidden) to (texts, length, hidden)."""
    texts, length, width = projected.shape
    split = projected.reshape(texts, length, 3, heads, width // (3 * heads))
    queries, keys, values = split.transpose(2, 0, 3, 1, 4)
    scores = queries @ keys.swapaxes(-1, -2)
    scores *= np.float32(1 / np.sqrt(queries.shape[-1]))
    scores += bias
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    context: Floats = scores @ values
    return context.transpose(0, 2, 1, 3).reshape(texts, length, width // 3)


def gelu(x: Floats) -> Floats:
    """GELU(x) = x · Φ(x) with the exact Gaussian Φ, in place (https://arxiv.org/abs/1606.08415).

    erf is the rational approximation 7.1.26 of Abramowitz and Stegun, Handbook of Mathematical
    Functions, p. 299, with an absolute error of at most 1.5e-7. It gives erfc(z) for z ≥ 0, and
    GELU(x) = max(x, 0) - ½·|x|·erfc(|x|/√2) needs no more, and cancels nowhere.
    """
    flat = x.reshape(-1, x.shape[-1])
    for start in range(0, len(flat), _GELU_ROWS):
        rows = flat[start : start + _GELU_ROWS]
        size = np.abs(rows)
        t = size * np.float32(0.3275911 / np.sqrt(2))
        t += np.float32(1)
        np.reciprocal(t, out=t)
        tail = t * np.float32(1.061405429)
        for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
            tail += np.float32(coefficient)
            tail *= t
        np.square(rows, out=t)
        t *= np.float32(-0.5)
        np.exp(t, out=t)
        tail *= t
        tail *= size
        tail *= np.float32(0.5)
        np.maximum(rows, np.float32(0), out=rows)
        rows -= tail
    return flat.reshape(x.shape)
