"""OpenAI's embeddings contract: bytes to a request, vectors to a response, failures to errors.

Pure. The contract is https://platform.openai.com/docs/api-reference/embeddings; texts longer than
the model's longest are cut off, as sentence-transformers does, where OpenAI answers an error.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from embedding_replica.errors import ApiError
from embedding_replica.tokens import Inputs


@dataclass(frozen=True)
class Limits:
    """What this server's requests are checked against.

    Attributes:
        model: The served model's name.
        batch: The most inputs in one request.
        vocabulary: Token ids are below this.
        dimensions: The length of an embedding.
    """

    model: str
    batch: int
    vocabulary: int
    dimensions: int

    @property
    def names(self) -> tuple[str, str]:
        """The names a client may call the model by: its own, and with its publisher's."""
        return self.model, f"sentence-transformers/{self.model}"


@dataclass(frozen=True)
class EmbeddingRequest:
    """A request that may be served.

    Attributes:
        inputs: Texts, or lists of token ids without the special ones.
        base64: Whether vectors are wanted as base64 of little-endian float32.
        method: ``single`` or ``batch``, as text-embeddings-inference tells them apart.
    """

    inputs: Inputs
    base64: bool
    method: str


def parse(body: bytes, limits: Limits) -> EmbeddingRequest:
    """Read and check a request's body; fields that are not known are ignored.

    Raises:
        ApiError: It cannot be served, and why.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        _refuse("The body is not valid JSON.", code="invalid_json")
    if not isinstance(asked, dict):
        _refuse("The body has to be a JSON object.")
    _check_model(asked.get("model"), limits)
    encoding = asked.get("encoding_format", "float")
    if encoding not in ("float", "base64"):
        _refuse("'encoding_format' has to be 'float' or 'base64'.", "encoding_format")
    dimensions = asked.get("dimensions")
    if dimensions is not None and (dimensions != limits.dimensions or isinstance(dimensions, bool)):
        _refuse(
            f"{limits.model} gives {limits.dimensions} dimensions and no other number.",
            "dimensions",
        )
    raw = asked.get("input")
    inputs = _inputs(raw, limits)
    single = isinstance(raw, str) or inputs is not raw
    return EmbeddingRequest(inputs, encoding == "base64", "single" if single else "batch")


def _check_model(model: object, limits: Limits) -> None:
    if model is None:
        _refuse("You must provide a 'model'.", "model")
    if not isinstance(model, str):
        _refuse("'model' has to be a string.", "model")
    if model not in limits.names:
        raise ApiError(
            404,
            f"The model '{model}' does not exist here; this server has '{limits.model}'.",
            "model",
            "model_not_found",
        )


def _inputs(raw: object, limits: Limits) -> Inputs:
    if raw is None:
        _refuse("You must provide an 'input'.", "input")
    if isinstance(raw, str):
        return [_text(raw, "'input'")]
    if not isinstance(raw, list):
        _refuse("'input' has to be a string, or an array of strings or of tokens.", "input")
    if not raw:
        _refuse("'input' must not be an empty array.", "input")
    # An array of numbers is one text's tokens, so its length is no number of inputs.
    if _is_number(raw[0]):
        return [_token_ids(raw, "'input'", limits.vocabulary)]
    if len(raw) > limits.batch:
        _refuse(f"'input' has {len(raw)} entries; at most {limits.batch} are served.", "input")
    if isinstance(raw[0], str):
        for index, each in enumerate(raw):
            _text(each, f"'input[{index}]'")
    else:
        for index, each in enumerate(raw):
            _token_ids(each, f"'input[{index}]'", limits.vocabulary)
    return raw


def _text(each: object, where: str) -> str:
    if not isinstance(each, str):
        _refuse(f"{where} has to be a string, as the first entry is.", "input")
    if not each:
        _refuse(f"{where} must not be an empty string.", "input")
    try:
        each.encode()
    except UnicodeEncodeError:
        # JSON's \ud800 alone names half a character; the tokeniser takes only whole ones.
        _refuse(f"{where} holds a surrogate without its other half.", "input")
    return each


def _token_ids(each: object, where: str, vocabulary: int) -> list[int]:
    if not isinstance(each, list):
        _refuse(f"{where} has to be a string or an array of tokens.", "input")
    if not each:
        _refuse(f"{where} must not be an empty array.", "input")
    for token in each:
        if not _is_number(token) or not 0 <= token < vocabulary:
            _refuse(f"{where} has to hold integers from 0 to {vocabulary - 1}.", "input")
    return each


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse(message: str, param: str | None = None, code: str | None = None) -> NoReturn:
    raise ApiError(400, message, param, code)


def response(
    request: EmbeddingRequest, vectors: NDArray[np.float32], tokens: int, model: str
) -> str:
    """Write the answer's JSON.

    Args:
        request: What was asked.
        vectors: (inputs, dimensions).
        tokens: How many tokens were embedded.
        model: The served model's name.
    """
    rows: Sequence[object] = vectors.tolist()
    if request.base64:
        rows = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors]
    data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json.dumps({"object": "list", "data": data, "model": model, "usage": usage})
