"""Data: documents to sequences, and the order in which they come."""

import torch

from genaisys.training.data import Order, TensorExamples, TokenSequences, documents_as_sequences, documents_in_rows


def test_an_order_is_one_permutation_after_the_other() -> None:
    numbers = Order(7, seed=3).take(0, 21)
    epochs = [numbers[start : start + 7] for start in (0, 7, 14)]
    assert all(sorted(epoch) == [*range(7)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_an_order_goes_on_at_any_place() -> None:
    order = Order(7, seed=3)
    numbers = order.take(0, 40)
    assert Order(7, seed=3).take(17, 9) == numbers[17:26]
    assert order.take(5, 4) == numbers[5:9]  # and back
    assert Order(7, seed=4).take(0, 40) != numbers


def test_documents_end_or_are_cut() -> None:
    assert documents_as_sequences([[5, 6], [5, 6, 7], [5, 6, 7, 8], []], eos=2, length=3) == [
        [5, 6, 2],
        [5, 6, 7],
        [5, 6, 7],
        [2],
    ]


def test_rows_hold_all_tokens_of_all_documents() -> None:
    documents = [[5, 6, 7, 8, 9], [3], [4, 4]]
    rows = documents_in_rows(documents, eos=2, length=4)
    assert [token for row in rows for token in row] == [5, 6, 7, 8, 9, 2, 3, 2, 4, 4, 2]
    assert [len(row) for row in rows] == [4, 4, 3]


def test_a_batch_is_padded_to_its_longest() -> None:
    data = TokenSequences([[5, 2], [5, 6, 7, 2], [8, 9, 2]], pad=0)
    assert data.batch([2, 0]).tolist() == [[8, 9, 2], [5, 2, 0]]
    assert [data.length(number) for number in range(3)] == [2, 4, 3]


def test_fingerprints_tell_data_apart() -> None:
    sequences = [[5, 2], [6, 2]]
    assert TokenSequences(sequences, 0).fingerprint == TokenSequences(sequences, 0).fingerprint
    others = ([[6, 2], [5, 2]], [[5, 2, 6, 2]], [[5, 2], [7, 2]])
    assert len({TokenSequences(other, 0).fingerprint for other in (sequences, *others)}) == 4


def test_rows_of_a_tensor() -> None:
    rows = torch.arange(12).view(4, 3)
    assert torch.equal(TensorExamples(rows).batch([3, 0]), rows[[3, 0]])
