import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hashed_words import plain_document

from genaisys.retrieval import database
from genaisys.retrieval.documents import Block, Chunk, Document
from genaisys.retrieval.store import Features, File, Store, StoreError


def a_chunk(source: str, ordinal: int, text: str, start: int = 0) -> Chunk:
    return Chunk(source, ordinal, text, start, start + len(text), 3, "Title", ((start, start + len(text)),))


def features_of(chunk: Chunk, seed: int = 0) -> Features:
    rng = np.random.default_rng((seed, len(chunk.text), chunk.ordinal))
    return Features(
        rng.standard_normal(8).astype(np.float16),
        rng.standard_normal((2, 8)).astype(np.float16),
        rng.integers(0, 2**32, 5, dtype=np.uint32),
        np.array([1, 2, 2], np.int32),
    )


def put(store: Store, source: str, text: str, file: File | None = None, parts: int = 2) -> list[Chunk]:
    chunks = [a_chunk(source, ordinal, text) for ordinal in range(parts)]
    store.replace(plain_document(source, text), chunks, [features_of(chunk) for chunk in chunks], "1", file)
    return chunks


def put_until_full(store: Store) -> int:
    """-> the number of documents that had room"""
    for number in range(1000):
        try:
            put(store, f"{number}", "word " * 1000)
        except StoreError as error:
            assert "no space left" in str(error)  # noqa: PT017, it must happen at some number, not at all of them
            return number
    raise AssertionError("the disk was never full")


def all_ids(store: Store) -> list[int]:
    return [int(i) for ids, _, _ in store.passages() for i in ids]


def is_sound(store: Store) -> bool:
    with sqlite3.connect(store.path) as db:
        return (
            db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            and not db.execute("PRAGMA foreign_key_check").fetchall()
        )


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    store = Store(tmp_path, "e")
    text = "# Kopf\nEin «Satz». 🦊\0 end"
    blocks = (Block("heading", 0, 6, 1), Block("row", 7, len(text), page=2, header="a | b"))
    document = Document("a/b\n.md", "Kopf", text, blocks, "text/markdown", "abc", {"author": "Ann"})
    chunk = Chunk(document.source, 0, text[7:], 7, len(text), 2, "Kopf", ((7, 18), (19, len(text))))
    store.replace(document, [chunk], [features := features_of(chunk)], "7", File("/x/b.md", 10, 99))
    store.close()

    store = Store(tmp_path, "ignored: the store has one already")
    assert store.encoder == "e"
    assert store.dimension == 8
    assert store.document(document.source) == document
    (entry,) = store.documents()
    assert (entry.source, entry.chunks, entry.chunker) == (document.source, 1, "7")
    assert entry.file == File("/x/b.md", 10, 99)
    (row,) = all_ids(store)
    assert store.chunks([row]) == {row: chunk}
    ids, candidates = store.candidates([row, 12345])
    assert ids.tolist() == [row]
    assert candidates.sentence_counts.tolist() == [2]
    for name in ("sentence_vectors", "terms", "term_counts"):
        np.testing.assert_array_equal(getattr(candidates, name), getattr(features, name))
    ((_, vectors, terms),) = store.passages()
    np.testing.assert_array_equal(vectors, [features.vector])
    np.testing.assert_array_equal(terms[0], features.terms)


def test_lone_surrogates_are_replaced_without_moving_spans(tmp_path: Path) -> None:
    store = Store(tmp_path, "e")
    put(store, "s", "one \ud800 two")
    document = store.document("s")
    assert document is not None
    assert document.text == "one ? two"
    assert next(iter(store.chunks(all_ids(store)).values())).text == "one ? two"


def test_replacing_leaves_one_version_and_remembers_what_went(tmp_path: Path) -> None:
    store = Store(tmp_path, "e")
    put(store, "a", "old", parts=3)
    old = all_ids(store)
    put(store, "a", "new", parts=2)
    assert len(store.documents()) == 1
    assert store.document("a").text == "new"  # type: ignore[union-attr]
    assert not set(old) & set(all_ids(store))
    gone, event = store.deleted()
    assert sorted(gone) == old
    assert store.deleted(event)[0].size == 0
    assert store.delete("a")
    assert not store.delete("a")
    assert all_ids(store) == []
    assert store.candidates(old)[0].size == 0


def test_one_file_has_one_document(tmp_path: Path) -> None:
    store = Store(tmp_path, "e")
    put(store, "a.txt", "text", File("/docs/a.txt", 4, 1))
    put(store, "docs/a.txt", "text", File("/docs/a.txt", 4, 1))
    assert [entry.source for entry in store.documents()] == ["docs/a.txt"]


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path, "e")
    chunks = put(store, "a", "old")
    with pytest.raises(ValueError, match="zip"):
        store.replace(plain_document("a", "new"), chunks, [features_of(chunks[0])], "1", None)
    assert store.document("a").text == "old"  # type: ignore[union-attr]
    assert len(all_ids(store)) == 2
    assert is_sound(store)


def test_vectors_of_another_length_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path, "e")
    put(store, "a", "text")
    chunk = a_chunk("b", 0, "text")
    odd = Features(np.zeros(5, np.float16), np.zeros((1, 5), np.float16), np.zeros(0, np.uint32), np.zeros(2, np.int32))
    with pytest.raises(StoreError, match="vectors of 5 numbers"):
        store.replace(plain_document("b", "text"), [chunk], [odd], "1", None)


def test_a_full_disk_is_said_plainly_and_harms_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path, "e")
    put(store, "a", "kept")
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    store._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match=r"no space left for .*: free some space") as caught:
        put(store, "b", "x" * 100_000)
    assert "\n" not in str(caught.value)
    store._writer.execute("PRAGMA max_page_count = 1000000")
    assert [entry.source for entry in store.documents()] == ["a"]
    put(store, "b", "now")
    assert is_sound(store)


def test_a_really_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        store = Store(disk / "store", "e")
        stored = put_until_full(store)
        assert 0 < len(store.documents()) == stored
        assert store.document(f"{stored - 1}") is not None
        assert is_sound(store)
        store.close()
        assert len(Store(disk / "store", "e").documents()) == stored
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "middle"])
def test_a_damaged_file_is_said_plainly(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path, "e")
    for number in range(50):
        put(store, f"{number}", "word " * 500)
    store.close()
    content = bytearray(store.path.read_bytes())
    if damage == "garbage":
        content[:] = os.urandom(len(content))
    elif damage == "truncated":
        del content[len(content) // 3 :]
    else:
        content[8192:-8192] = b"\xff" * (len(content) - 16384)
    store.path.write_bytes(content)
    with pytest.raises(StoreError, match=r"is damaged .*; delete .* and index your documents again") as caught:
        Store(tmp_path, "e").documents()
    assert "\n" not in str(caught.value)


def test_stores_of_others_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "newer", "e")
    with store.writing() as db:
        db.execute("UPDATE manifest SET value = '999' WHERE key = 'schema'")
    with pytest.raises(StoreError, match="newer version of genaisys"):
        Store(tmp_path / "newer", "e")
    (tmp_path / "other").mkdir()
    with sqlite3.connect(tmp_path / "other" / "index.db") as db:
        db.execute("CREATE TABLE things (a)")
    with pytest.raises(StoreError, match="not an index of genaisys"):
        Store(tmp_path / "other", "e")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot use"):
        Store(tmp_path / "file", "e")


def test_a_busy_store_can_be_read_and_says_when_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    store, other = Store(tmp_path, "e"), Store(tmp_path, "e")
    put(store, "a", "text")
    with other.writing():
        with pytest.raises(StoreError, match=r"another process has kept .* busy"):
            put(store, "b", "text")
        assert [entry.source for entry in store.documents()] == ["a"]
    put(store, "b", "text")
    assert len(other.documents()) == 2


def test_a_reader_learns_that_something_changed(tmp_path: Path) -> None:
    store, other = Store(tmp_path, "e"), Store(tmp_path, "e")
    before = store.version()
    assert store.version() == before
    put(other, "a", "text")
    assert store.version() != before
    before = store.version()
    put(store, "b", "text")  # its own writes are seen just as well
    assert store.version() != before


def test_filters(tmp_path: Path) -> None:
    store = Store(tmp_path, "e")
    for source, kind, author in (
        ("a/x.md", "text/markdown", "Ann"),
        ("a/y.pdf", "application/pdf", "Bo"),
        ("[b].md", "text/markdown", "Ann"),
    ):
        document = Document(source, "t", "text", (), kind, "h", {"author": author})
        chunk = a_chunk(source, 0, "text")
        store.replace(document, [chunk], [features_of(chunk)], "1", None)

    def matching(**where: str) -> list[str]:
        return sorted(chunk.source for chunk in store.chunks(store.matching(where).tolist()).values())

    assert matching() == ["[b].md", "a/x.md", "a/y.pdf"]
    assert matching(source="a/*") == ["a/x.md", "a/y.pdf"]
    assert matching(source="*.md", author="Ann") == ["[b].md", "a/x.md"]
    assert matching(source="[b].md") == ["[b].md"]
    assert matching(media_type="application/pdf") == ["a/y.pdf"]
    assert matching(author="Bo", media_type="text/markdown") == []
    assert matching(**{"author') OR 1=1 --": "Bo"}) == []
