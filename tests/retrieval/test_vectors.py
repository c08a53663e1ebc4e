import numpy as np
import numpy.typing as npt
import pytest

from genaisys.retrieval.vectors import Vectors, exact_index, from_bytes, inverted_lists, to_bytes

D = 32


def unit_vectors(count: int, seed: int, clusters: int = 0) -> npt.NDArray[np.float32]:
    """Random directions; around ``clusters`` centres, as the vectors of texts are, if there are any."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, D))
    if clusters:
        centres = np.random.default_rng(99).standard_normal((clusters, D))
        vectors = centres[rng.integers(0, clusters, count)] + 0.7 * vectors
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def nearest(query: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32], n: int) -> list[int]:
    return np.argsort(-(vectors @ query))[:n].tolist()


def searched(vectors: Vectors, *arguments: object) -> set[int]:
    return set(vectors.search(*arguments)[0].tolist())  # type: ignore[arg-type]


@pytest.fixture
def exact() -> tuple[Vectors, npt.NDArray[np.float32]]:
    """Vectors 0..299 in the base and 300..399 since then; ids are ten times the rows."""
    data = unit_vectors(400, 0).astype(np.float16).astype(np.float32)
    base = exact_index(D)
    base.add_with_ids(data[:300], 10 * np.arange(300))
    vectors = Vectors(base)
    vectors.add(10 * np.arange(300, 350), data[300:350].astype(np.float16))
    vectors.add(10 * np.arange(350, 400), data[350:].astype(np.float16))
    return vectors, data


def test_small_collections_are_searched_exactly(exact: tuple[Vectors, npt.NDArray[np.float32]]) -> None:
    vectors, data = exact
    for query in unit_vectors(20, 1):
        ids, scores = vectors.search(query, 25)
        assert ids.tolist() == [10 * row for row in nearest(query, data, 25)]
        np.testing.assert_allclose(scores, data[ids // 10] @ query, atol=1e-5)
    assert len(vectors.search(data[0], 1000)[0]) == 400


def test_deleted_vectors_never_come(exact: tuple[Vectors, npt.NDArray[np.float32]]) -> None:
    vectors, data = exact
    for query in unit_vectors(10, 2):
        first = vectors.search(query, 30)[0]
        vectors.delete(first)
        assert not searched(vectors, query, 30) & set(first.tolist())
    assert len(vectors.search(data[0], 1000)[0]) >= 100


def test_all_that_is_allowed_comes(exact: tuple[Vectors, npt.NDArray[np.float32]]) -> None:
    vectors, data = exact
    allowed = np.array([10, 250, 2990, 3000, 3990])
    assert searched(vectors, data[7], 100, allowed) == set(allowed.tolist())
    assert searched(vectors, data[7], 100, np.empty(0, np.int64)) == set()


def test_inverted_lists_find_nearly_all_neighbours() -> None:
    data, queries = unit_vectors(20_000, 3, clusters=400), unit_vectors(100, 4, clusters=400)
    index = inverted_lists(data[::2], len(data))
    index.add_with_ids(data, np.arange(len(data)))
    vectors = Vectors(index)
    found = [searched(vectors, query, 100) for query in queries]
    recall = np.mean([len(ids & set(nearest(query, data, 10))) / 10 for ids, query in zip(found, queries, strict=True)])
    assert recall >= 0.95

    # A filter is exact about what may be found, wherever that lies.
    allowed = np.arange(0, len(data), 1999)
    assert searched(vectors, queries[0], 100, allowed) == set(allowed.tolist())
    gone = np.array(sorted(found[0]))
    vectors.delete(gone)
    assert not searched(vectors, queries[0], 100) & found[0]


@pytest.mark.parametrize("lists", [False, True])
def test_an_index_survives_its_bytes(lists: bool) -> None:
    data = unit_vectors(3000, 5)
    index = inverted_lists(data, len(data)) if lists else exact_index(D)
    index.add_with_ids(data, np.arange(len(data)) + 7)
    again = from_bytes(to_bytes(index))
    for query in data[:5]:
        before, after = Vectors(index).search(query, 20), Vectors(again).search(query, 20)
        np.testing.assert_array_equal(before[0], after[0])
        np.testing.assert_array_equal(before[1], after[1])
