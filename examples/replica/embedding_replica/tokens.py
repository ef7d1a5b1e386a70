"""Texts, or token ids, to a padded batch of token ids as the encoder wants them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

Inputs = Sequence[str] | Sequence[Sequence[int]]
Row = Sequence[int]


@dataclass(frozen=True, eq=False)
class Batch:
    """Texts side by side, padded to the longest.

    Attributes:
        ids: Token ids, (texts, length).
        mask: True where a token is, (texts, length).
    """

    ids: NDArray[np.int64]
    mask: NDArray[np.bool_]

    @property
    def tokens(self) -> int:
        """Tokens that are not padding, the two special ones of each text included."""
        return int(self.mask.sum())

    def rows(self) -> list[Row]:
        """Each text's token ids, without padding."""
        return [ids[mask].tolist() for ids, mask in zip(self.ids, self.mask, strict=True)]


class WordPieces:
    """The model's own tokeniser, which cuts a text off at the model's longest, without a word.

    So does the reference: sentence-transformers truncates to ``max_seq_length``, special tokens
    included.
    """

    def __init__(self, file: Path, *, longest: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(file))
        # The file carries the truncation and padding to 128 of the model's training.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(longest)
        self._longest = longest
        # An empty text is nothing but the special tokens, [CLS] and [SEP].
        self._first, self._last = self._tokenizer.encode("").ids

    def batch(self, inputs: Inputs) -> Batch:
        """Tokenise and pad.

        Args:
            inputs: At least one text, or one list of token ids without the special ones.
        """
        texts = [each for each in inputs if isinstance(each, str)]
        if texts:
            return padded([encoding.ids for encoding in self._tokenizer.encode_batch(texts)])
        room = self._longest - 2
        rows = [list(each[:room]) for each in inputs if not isinstance(each, str)]
        return padded([[self._first, *row, self._last] for row in rows])


def padded(rows: Sequence[Row]) -> Batch:
    """Put texts side by side, given their token ids with the special ones."""
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(mask.shape, dtype=np.int64)  # 0 is [PAD]
    ids[mask] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    return Batch(ids, mask)
