"""What kills and rivals do to a store: nothing."""

import os
import random
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hashed_words import HashedWords

from genaisys.retrieval.documents import Chunk, Hit
from genaisys.retrieval.index import Index
from genaisys.retrieval.ingestion import ingest

KILLS = 50
SECONDS = 120  # for two writers and a reader, who take 5 on an idle machine
HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks and signals")


def text_of(name: str, version: int) -> str:
    """Some paragraphs, no two alike, long enough for a few chunks."""
    rng = random.Random(f"{name} {version}")
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(2, 7))) for _ in range(60)]
    paragraphs = [" ".join(rng.choices(words, k=90)).capitalize() + "." for _ in range(rng.randint(1, 6))]
    return f"{name}, version {version}.\n\n" + "\n\n".join(paragraphs)


def change_some(folder: Path, versions: dict[str, int], rng: random.Random) -> set[str]:
    """Write, rewrite and delete a few files. -> their names"""
    names = set(rng.sample([f"{number}.txt" for number in range(30)], 8))
    for name in names:
        if rng.random() < 0.2:
            (folder / name).unlink(missing_ok=True)
        else:
            versions[name] = versions.get(name, 0) + 1
            (folder / name).write_text(text_of(name, versions[name]))
    return names


Content = dict[str, tuple[str, list[tuple[object, ...]]]]


def content_of(store: Path) -> Content:
    """All that a store holds of each source, ids apart; and it must be sound."""
    with sqlite3.connect(store / "index.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        if not db.execute("SELECT name FROM sqlite_master").fetchall():
            return {}  # killed before the tables were made
        (features,) = db.execute("SELECT count(*) FROM features").fetchone()
        (chunks,) = db.execute("SELECT count(*) FROM chunks").fetchone()
        assert features == chunks
        content: Content = {
            source: (text, []) for source, text in db.execute("SELECT source, text FROM documents ORDER BY source")
        }
        for source, *chunk in db.execute(
            'SELECT source, ordinal, start, "end", context, sentences, chunks.text, vector, terms, term_counts,'
            " sentence_vectors FROM documents JOIN chunks ON document = documents.id JOIN features ON chunk = chunks.id"
            " ORDER BY source, ordinal"
        ):
            content[source][1].append(tuple(chunk))
    return content


def rounded(hit: Hit) -> tuple[Chunk, float]:
    return hit.chunk, round(hit.score, 4)


def test_kills_at_any_moment(tmp_path: Path) -> None:
    rng = random.Random(1)
    folder, store = tmp_path / "docs", tmp_path / "store"
    folder.mkdir()
    versions: dict[str, int] = {}
    change_some(folder, versions, rng)
    command = [sys.executable, str(HERE / "crashing.py"), str(store), str(folder)]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:  # whose end of input, also after a failure, is its end
        assert program.stdin is not None
        assert program.stdout is not None
        before: Content = {}
        killed = kills_that_left_part = 0
        for _ in range(10 * KILLS):
            changed = change_some(folder, versions, rng)
            moment = f"after {rng.uniform(0, 0.15)}" if rng.random() < 0.5 else f"at {rng.randrange(1, 300)}"
            program.stdin.write(f"{moment}\n")
            program.stdin.flush()
            was_killed = program.stdout.readline() == "killed\n"
            killed += was_killed
            after = content_of(store) if (store / "index.db").exists() else {}
            new = {name: path.read_text() for name in versions if (path := folder / name).exists()}
            for source in before.keys() | after.keys():
                if source not in after:
                    assert source not in new  # only what was deleted goes
                elif after[source] != before.get(source):  # it is new, and then it is there wholly
                    text, chunks = after[source]
                    assert text == new[source]
                    assert [chunk[0] for chunk in chunks] == list(range(len(chunks)))
                    assert [chunk[5] for chunk in chunks] == [text[start:end] for _, start, end, *_ in chunks]  # type: ignore[misc, index]
                    assert "".join("".join(str(chunk[5]) for chunk in chunks).split()) == "".join(text.split())
            kills_that_left_part += was_killed and any(
                after.get(name, ("",))[0] != new.get(name, "") for name in changed
            )
            before = after
            if killed >= KILLS:
                break
    assert killed >= KILLS
    assert kills_that_left_part >= KILLS // 4  # the kills did hit work in progress

    # After a restart everything is there, exactly as if nothing had ever happened.
    for place in (store, tmp_path / "undisturbed"):
        with Index.open(place, HashedWords()) as index:
            assert "failed" not in {outcome.status for outcome in ingest([folder], index)}
    assert content_of(store) == content_of(tmp_path / "undisturbed")
    with Index.open(store, HashedWords()) as one, Index.open(tmp_path / "undisturbed", HashedWords()) as other:
        for query in ("version 3", text_of("7.txt", 1)[:100]):
            found, expected = (
                [(h.chunk, round(h.score, 4)) for h in index.search(query, 500)] for index in (one, other)
            )
            assert sorted(found, key=repr) == sorted(expected, key=repr)


WRITER = """
    import sys
    from hashed_words import HashedWords, plain_document
    from genaisys.retrieval import candidates
    from genaisys.retrieval.index import Index
    candidates.MANY_CHANGES = 10
    store, name = sys.argv[1:]
    for number in range(60):
        with Index.open(store, HashedWords()) as index:
            index.add(plain_document(f"{name}-{number}", f"Written by {name}, number {number}."))
            index.add(plain_document("shared", f"Last written by {name}, number {number}."))
            if number % 3 == 0:
                index.delete(f"{name}-{number}")
            index.refresh()
"""

READER = """
    import sys
    from hashed_words import HashedWords
    from genaisys.retrieval import candidates
    from genaisys.retrieval.index import Index
    candidates.MANY_CHANGES = 10
    seen, searches = 0, 0
    with Index.open(sys.argv[1], HashedWords()) as index:
        print("ready", flush=True)
        while seen < 80:
            sources = [hit.chunk.source for hit in index.search("number", 1000)]
            assert len(set(sources)) == len(sources), sources
            assert len(sources) >= seen - 2, (seen, sources)  # each writer may have deleted what it had just added
            seen, searches = len(sources), searches + 1
    print(searches)
"""


def test_two_writers_and_a_reader(tmp_path: Path) -> None:
    def start(program: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), str(tmp_path), *arguments],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    processes = [start(WRITER, "ann"), start(WRITER, "bo"), start(READER)]  # all three make the store at once
    deadline = time.monotonic() + SECONDS
    try:  # until all are done, or one has failed: the reader would wait for what a failed writer does not write
        while None in (codes := [process.poll() for process in processes]) and time.monotonic() < deadline:
            if any(codes):
                break
            time.sleep(0.05)
    finally:
        for process in processes:
            process.kill()
    results = [process.communicate() for process in processes]
    assert [(process.returncode, err) for process, (_, err) in zip(processes, results, strict=True)] == [(0, "")] * 3
    assert int(results[2][0].split()[1]) > 1

    content_of(tmp_path)
    expected = {f"{name}-{number}" for name in ("ann", "bo") for number in range(60) if number % 3} | {"shared"}
    with Index.open(tmp_path, HashedWords()) as index:
        assert {entry.source for entry in index.documents()} == expected
        assert {hit.chunk.source for hit in index.search("number", 1000)} == expected
