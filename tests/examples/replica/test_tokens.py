from __future__ import annotations

from embedding_replica.model import Model

CLS, SEP = 101, 102


def test_a_text_is_cut_off_at_256_tokens_special_ones_included(model: Model) -> None:
    batch = model.tokenise(["ship " * 300])
    assert batch.ids.shape == (1, 256)
    assert (batch.ids[0, 0], batch.ids[0, -1]) == (CLS, SEP)


def test_token_ids_are_cut_off_at_256_tokens_special_ones_included(model: Model) -> None:
    batch = model.tokenise([[2911] * 300])
    assert batch.ids.shape == (1, 256)
    assert (batch.ids[0, 0], batch.ids[0, -1]) == (CLS, SEP)


def test_token_ids_are_the_same_as_their_text(model: Model) -> None:
    text = model.tokenise(["the load line"])
    ids = model.tokenise([text.ids[0, 1:-1].tolist()])
    assert ids.ids.tolist() == text.ids.tolist()


def test_texts_are_padded_to_the_longest_of_their_batch(model: Model) -> None:
    batch = model.tokenise(["ship", "a ship at sea"])
    assert batch.mask.tolist() == [[True] * 3 + [False] * 3, [True] * 6]
    assert batch.ids[0].tolist() == [CLS, 2911, SEP, 0, 0, 0]


def test_padding_is_not_counted_as_tokens(model: Model) -> None:
    assert model.tokenise(["ship", "a ship at sea"]).tokens == 9
