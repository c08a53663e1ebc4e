import shutil
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hashed_words import HashedWords, plain_document

from genaisys.retrieval import candidates
from genaisys.retrieval.candidates import CACHE
from genaisys.retrieval.documents import Hit
from genaisys.retrieval.index import Index
from genaisys.retrieval.store import StoreError

ANIMALS = ["fox", "heron", "otter", "badger", "marten", "kestrel", "adder", "vole", "newt", "stoat"]
QUERIES = ["where does the heron sleep", "an otter and a vole", "stoat", "kestrel number 17"]


def put(index: Index, number: int, **metadata: str) -> None:
    rng = np.random.default_rng(number)
    sentences = [
        f"The {' and the '.join(rng.choice(ANIMALS, 3))} sleep in burrow {rng.integers(40)}." for _ in range(4)
    ]
    index.add(plain_document(f"{number}.txt", f"Number {number}. " + " ".join(sentences), **metadata))


def results(hits: list[Hit]) -> list[tuple[str, int, float]]:
    return [(hit.chunk.source, hit.chunk.ordinal, round(hit.score, 4)) for hit in hits]


def all_results(index: Index) -> list[list[tuple[str, int, float]]]:
    return [sorted(results(index.search(query, k=500))) for query in QUERIES]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path / "store", HashedWords()) as index:
        yield index


def reopened(index: Index) -> Index:
    return Index.open(index.store.folder, HashedWords())


def anew(index: Index, folder: Path) -> Index:
    """The same documents in another index, made in one go."""
    other = Index.open(folder, HashedWords())
    for entry in index.documents():
        other.add(index.document(entry.source))  # type: ignore[arg-type]
    return other


def test_the_passage_that_says_it_comes_first(index: Index) -> None:
    index.add(plain_document("a.txt", "Otters float on their backs. They hold hands while they sleep."))
    index.add(plain_document("b.txt", "Foxes dig. The den has two doors."))
    hits = index.search("how many doors has the den?", k=2)
    assert [hit.chunk.source for hit in hits] == ["b.txt", "a.txt"]
    document = index.document("b.txt")
    assert document is not None
    (start, end) = hits[0].chunk.sentences[int(np.argmax(hits[0].sentence_scores))]
    assert document.text[start:end] == "The den has two doors."
    assert len(hits[0].sentence_scores) == 2


def test_an_empty_index_and_an_empty_query(index: Index) -> None:
    assert index.search("anything") == []
    put(index, 1)
    assert [hit.chunk.source for hit in index.search("")] == ["1.txt"]
    assert len(index.search("heron")) == 1


def test_k_is_what_one_gets(index: Index) -> None:
    for number in range(150):
        put(index, number)
    total = index.store.chunk_count()
    for k in (1, 10, 140, 1000):
        hits = index.search("the heron", k)
        assert len(hits) == min(k, total)
        assert len({(hit.chunk.source, hit.chunk.ordinal) for hit in hits}) == len(hits)
        assert all(better.score >= worse.score for better, worse in pairwise(hits))


def test_deleted_and_replaced_documents_never_come_back(index: Index) -> None:
    for number in range(60):
        put(index, number)
    assert index.search("kestrel number 17", 1)[0].chunk.source == "17.txt"
    index.delete("17.txt")
    assert "17.txt" not in {hit.chunk.source for hit in index.search("kestrel number 17", 60)}
    index.add(plain_document("18.txt", "Quite another text about lighthouses."))
    hits = index.search("lighthouses", 60)
    assert hits[0].chunk.text == "Quite another text about lighthouses."
    assert len(hits) == 59
    assert all_results(index) == all_results(reopened(index))


def test_filters_find_what_there_is(index: Index) -> None:
    for number in range(200):
        put(index, number, author="Rare" if number % 50 == 7 else "Common")
    # Fewer than the first stage would name, and not the nearest.
    hits = index.search("otter", k=4, where={"author": "Rare"})
    assert {hit.chunk.source for hit in hits} == {"7.txt", "57.txt", "107.txt", "157.txt"}
    assert {hit.chunk.source for hit in index.search("otter", 3, {"source": "1?.txt"})} < {
        f"1{i}.txt" for i in range(10)
    }
    assert index.search("otter", where={"author": "Nobody"}) == []
    assert len(index.search("otter", 300, {"media_type": "text/plain"})) == 200


def test_catching_up_equals_building_anew(index: Index, tmp_path: Path) -> None:
    for number in range(40):
        put(index, number)
    index.refresh()
    for number in range(40, 80):
        put(index, number)
        if number % 3 == 0:
            index.delete(f"{number // 2}.txt")
        index.search(QUERIES[0])
    assert index._candidates._base_size == 40  # no rebuild: all else is delta
    expected = all_results(anew(index, tmp_path / "anew"))
    assert all_results(index) == expected
    assert all_results(reopened(index)) == expected
    (index.store.folder / CACHE).unlink()
    assert all_results(reopened(index)) == expected


def test_many_changes_make_the_cache_anew(index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(candidates, "MANY_CHANGES", 10)
    for number in range(60):
        put(index, number)
        index.search(QUERIES[number % 4])
    index.refresh()
    assert index._candidates._base_size > 40
    assert all_results(index) == all_results(anew(index, tmp_path / "anew"))
    # The new file serves the next one who opens, without a rebuild.
    monkeypatch.setattr(candidates.CandidateSearch, "_rebuild", None)
    assert all_results(reopened(index)) == all_results(index)


def test_a_live_reader_sees_what_another_writes(index: Index) -> None:
    put(index, 1)
    with reopened(index) as reader:
        assert len(reader.search("heron")) == 1
        put(index, 2)
        assert len(reader.search("heron")) == 2
        index.delete("1.txt")
        assert [hit.chunk.source for hit in reader.search("heron")] == ["2.txt"]


def test_the_cache_file_may_be_replaced_while_it_is_opened(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        put(index, number)
    expected = all_results(index)
    (tmp_path / "smaller").write_bytes(b"of another process")
    map_storage = torch.UntypedStorage.from_file

    def replace_and_map(*arguments: object, **more: object) -> object:  # the second time that the file is opened
        shutil.copy(tmp_path / "smaller", tmp_path / "copy")
        (tmp_path / "copy").replace(index.store.folder / CACHE)
        return map_storage(*arguments, **more)

    monkeypatch.setattr(torch.UntypedStorage, "from_file", replace_and_map)
    monkeypatch.setattr(candidates.CandidateSearch, "_rebuild", None)  # nor is there a need to make it anew
    with reopened(index) as again:
        assert all_results(again) == expected
    assert (index.store.folder / CACHE).read_bytes() == b"of another process"


def test_a_document_that_is_replaced_during_a_search_is_found(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add(plain_document("a.txt", "The heron sleeps."))
    find = candidates.CandidateSearch.find

    def find_and_replace(*arguments: Any) -> Any:
        found = find(*arguments)
        with reopened(index) as other:
            other.add(plain_document("a.txt", "The heron wakes."))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(candidates.CandidateSearch, "find", find_and_replace)
        assert [hit.chunk.text for hit in index.search("heron")] == ["The heron sleeps."]
    assert [hit.chunk.text for hit in index.search("heron")] == ["The heron wakes."]


@pytest.mark.parametrize(
    "damage", ["garbage", "truncated", "one byte", "empty", "missing", "of another store", "folder"]
)
def test_a_bad_cache_file_is_made_anew(index: Index, tmp_path: Path, damage: str) -> None:
    for number in range(50):
        put(index, number)
    expected = all_results(index)
    path = index.store.folder / CACHE
    content = path.read_bytes()
    path.unlink()
    match damage:
        case "garbage":
            path.write_bytes(np.random.default_rng(0).bytes(len(content)))
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "one byte":
            place = len(content) - 300
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        case "empty":
            path.touch()
        case "of another store":
            with Index.open(tmp_path / "other", HashedWords()) as other:
                for number in range(60):
                    put(other, number + 100)
                other.refresh()
            shutil.copy(tmp_path / "other" / CACHE, path)
        case "folder":
            path.mkdir()
    with reopened(index) as again:
        assert all_results(again) == expected
    if damage != "folder":  # that one cannot be replaced, so each start does the work again
        assert path.read_bytes()[:8] == content[:8]
        with reopened(index) as again:
            assert again._candidates._load()


def test_a_store_put_back_to_an_older_copy(index: Index, tmp_path: Path) -> None:
    put(index, 1)
    index.close()
    shutil.copytree(index.store.folder, tmp_path / "copy")
    with reopened(index) as later:
        for number in range(2, 9):
            put(later, number)
        later._candidates.catch_up()
        later._candidates._rebuild(HashedWords.dimension)  # a file that knows of all eight
    shutil.copy(tmp_path / "copy" / "index.db", index.store.folder / "index.db")
    with reopened(index) as back:
        assert [hit.chunk.source for hit in back.search("heron", 100)] == ["1.txt"]


def test_another_encoder_is_refused_with_advice(index: Index) -> None:
    put(index, 1)
    folder = index.store.folder
    with pytest.raises(StoreError, match=r"built with the encoder hashed-words, not minilm-l6; open it with --encoder"):
        Index.open(folder, "minilm-l6")
    with Index.open(folder) as again:
        assert again.store.encoder == "hashed-words"


def test_an_index_without_documents_takes_another_encoder(tmp_path: Path) -> None:
    Index.open(tmp_path / "store", "misspelt").close()
    with Index.open(tmp_path / "store", HashedWords()) as index:
        put(index, 1)
        assert index.store.encoder == HashedWords().name


@pytest.mark.parametrize("column", ["sentence_vectors", "terms", "term_counts"])
def test_damaged_content_is_said_plainly(index: Index, column: str) -> None:
    """What SQLite cannot notice: the tables are sound, what is in them is not."""
    put(index, 1)
    with index.store.writing() as db:
        db.execute(f"UPDATE features SET {column} = substr({column}, 5)")
    with pytest.raises(StoreError, match="is damaged"):
        index.search("anything")


def test_the_encoder_is_loaded_only_to_encode(tmp_path: Path) -> None:
    with Index.open(tmp_path, "no-such-encoder") as index:
        assert index.documents() == []
        assert index.document("x") is None
        assert not index.delete("x")
        index.refresh()


def test_threads_search_while_another_adds(index: Index) -> None:
    put(index, 0)
    failures: list[BaseException] = []
    done = threading.Event()

    def search() -> None:
        try:
            while not done.is_set():
                sources = [hit.chunk.source for hit in index.search("heron", 500)]
                assert len(set(sources)) == len(sources) >= 1
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 60):
        put(index, number)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(index.search("heron", 500)) == 60


def test_the_samples_with_the_real_encoder(sample_store: Path) -> None:
    with Index.open(sample_store) as index:
        query = index.encode_query("At what wind speed does the dome close?")
        assert query.vector.shape == (384,)
        assert index.search(query, 1)[0].chunk.source == "handbook.md"
