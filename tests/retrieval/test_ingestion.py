import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hashed_words import HashedWords

from genaisys.retrieval import ingestion, reading
from genaisys.retrieval.index import Index
from genaisys.retrieval.ingestion import ingest, ingest_files
from genaisys.retrieval.readers import UnreadableDocument
from genaisys.retrieval.reading import ReaderProcess


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path / "store", HashedWords()) as index:
        yield index


@pytest.fixture(autouse=True)
def one_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "READERS", 1)  # each takes a second to start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    write(folder / "a.txt", "The heron eats fish.")
    write(folder / "sub" / "b.md", "# Foxes\n\nThe fox digs.")
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def run(index: Index, *paths: Path) -> dict[str, str]:
    """-> the status of each source"""
    outcomes = [outcome for outcome in ingest(paths, index) if outcome.status != "skipped"]
    assert len({outcome.source for outcome in outcomes}) == len(outcomes)
    return {outcome.source: outcome.status for outcome in outcomes}


def sources(index: Index) -> list[str]:
    return [entry.source for entry in index.documents()]


def readers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if reading.__name__ in " ".join(child.cmdline())]


def test_only_what_changed_is_done_again(index: Index, folder: Path) -> None:
    assert run(index, folder) == {"a.txt": "added", "sub/b.md": "added"}
    assert index.search("who digs?", 1)[0].chunk.source == "sub/b.md"
    assert run(index, folder) == {"a.txt": "unchanged", "sub/b.md": "unchanged"}
    write(folder / "a.txt", "The heron eats frogs as well.")
    write(folder / "c.txt", "A newcomer.")
    (folder / "sub" / "b.md").unlink()
    assert run(index, folder) == {"a.txt": "updated", "c.txt": "added", "sub/b.md": "removed"}
    assert sources(index) == ["a.txt", "c.txt"]
    assert index.document("a.txt").text == "The heron eats frogs as well."  # type: ignore[union-attr]
    assert "fish" not in {hit.chunk.text for hit in index.search("fish", 100)}


def test_a_touched_file_is_read_but_not_encoded(index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(index, folder)
    os.utime(folder / "a.txt", ns=(1, 1))
    monkeypatch.setattr(Index, "features", None)
    assert run(index, folder) == {"a.txt": "unchanged", "sub/b.md": "unchanged"}
    monkeypatch.setattr(ingestion, "ReaderProcess", None)  # and it is not even read the next time
    assert run(index, folder) == {"a.txt": "unchanged", "sub/b.md": "unchanged"}


def test_a_new_chunker_does_all_again(index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(index, folder)
    monkeypatch.setattr(ingestion, "CHUNKER_VERSION", "next")
    assert set(run(index, folder).values()) == {"updated"}


def test_unchanged_files_need_no_encoder(tmp_path: Path, folder: Path) -> None:
    encoder = HashedWords()
    encoder.name = "no-such-encoder"
    with Index.open(tmp_path / "store", encoder) as index:
        run(index, folder)
    with Index.open(tmp_path / "store") as index:
        assert run(index, folder) == {"a.txt": "unchanged", "sub/b.md": "unchanged"}


def test_a_bad_file_harms_only_itself(index: Index, folder: Path) -> None:
    run(index, folder)
    (folder / "a.txt").write_bytes(b"\0\1\2\3" * 1000)
    write(folder / "broken.pdf", "%PDF-1.7 and no more")
    write(folder / "empty.txt", "")
    write(folder / "good.txt", "Fine.")
    outcomes = {outcome.source: outcome for outcome in ingest([folder], index)}
    assert {source: outcome.status for source, outcome in outcomes.items()} == {
        "a.txt": "failed",
        "broken.pdf": "failed",
        "empty.txt": "failed",
        "good.txt": "added",
        "sub/b.md": "unchanged",
    }
    assert outcomes["a.txt"].detail.endswith("the version indexed before is kept")
    assert all("\n" not in outcome.detail for outcome in outcomes.values())
    assert index.document("a.txt").text == "The heron eats fish."  # type: ignore[union-attr]


def test_strange_names(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "names"
    names = ["two\nlines.txt", "🦊 [x] *.txt", "n" * 251 + ".txt", "'; DROP TABLE documents.txt", "%41.txt"]
    for name in names:
        write(folder / name, f"Content of {len(name)}.")
    with open(os.path.join(os.fsencode(folder), b"latin-\xe9.txt"), "w") as file:
        file.write("Not UTF-8 in its name.")
    expected = {*names, r"latin-\xe9.txt"}
    assert run(index, folder) == dict.fromkeys(expected, "added")
    assert run(index, folder) == dict.fromkeys(expected, "unchanged")
    assert index.document("two\nlines.txt").text == "Content of 13."  # type: ignore[union-attr]
    assert index.delete("🦊 [x] *.txt")


def test_links_are_not_followed(index: Index, folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "outside" / "secret.txt", "Not asked for.")
    (folder / "loop").symlink_to(folder)
    (folder / "sub" / "round").symlink_to("round")
    (folder / "climbs").symlink_to(tmp_path / "outside")
    (folder / "climbs.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    (folder / "again.txt").symlink_to(folder / "a.txt")
    outcomes = list(ingest([folder], index))
    assert [o.source for o in outcomes if o.status == "added"] == ["a.txt", "sub/b.md"]
    assert {(o.source, o.status, o.detail.split(";")[0]) for o in outcomes if o.status != "added"} == {
        (name, "skipped", "is a link that leads out of the folder") for name in ("climbs", "climbs.txt")
    }
    # A link that is named itself is what it points to.
    assert run(index, folder / "climbs") == {"secret.txt": "added"}


def test_what_is_left_out_is_counted(index: Index, folder: Path) -> None:
    write(folder / ".hidden" / "x.txt", "x")
    write(folder / ".y.txt", "y")
    write(folder / "movie.mkv", "z")
    (outcome,) = (outcome for outcome in ingest([folder], index) if outcome.status == "skipped")
    assert outcome.detail == "2 hidden and 1 of kinds that are not read"
    assert run(index, folder / ".y.txt") == {".y.txt": "added"}  # named itself
    assert run(index, folder).get(".y.txt") is None
    assert ".y.txt" in sources(index)  # it is still there, so it stays


def test_folders_with_equal_names_in_them_do_not_collide(index: Index, tmp_path: Path) -> None:
    for number, place in enumerate(("one/docs", "two/docs", "three/docs")):
        write(tmp_path / place / "a.txt", f"Number {number}.")
    assert run(index, tmp_path / "one/docs") == {"a.txt": "added"}
    assert run(index, tmp_path / "two/docs") == {"docs/a.txt": "added"}
    third = (tmp_path / "three/docs/a.txt").as_posix()
    assert run(index, tmp_path / "three/docs") == {third: "added"}
    texts = [index.document(source).text for source in ("a.txt", "docs/a.txt", third)]  # type: ignore[union-attr]
    assert texts == ["Number 0.", "Number 1.", "Number 2."]
    assert run(index, tmp_path / "two/docs") == {"docs/a.txt": "unchanged"}
    (tmp_path / "two/docs/a.txt").unlink()
    assert run(index, tmp_path / "two/docs") == {"docs/a.txt": "removed"}
    assert sources(index) == sorted(["a.txt", third])


def test_a_folder_may_be_indexed_by_itself_and_within_another(index: Index, folder: Path) -> None:
    assert run(index, folder / "sub") == {"b.md": "added"}
    assert run(index, folder) == {"a.txt": "added", "b.md": "unchanged"}
    write(folder / "sub" / "b.md", "Changed.")
    assert run(index, folder / "sub", folder, folder / "a.txt") == {"a.txt": "unchanged", "b.md": "updated"}
    assert sources(index) == ["a.txt", "b.md"]


def test_a_moved_folder_is_known_again(index: Index, folder: Path) -> None:
    run(index, folder)
    moved = folder.rename(folder.with_name("moved"))
    assert run(index, moved) == {"a.txt": "unchanged", "sub/b.md": "unchanged"}
    assert sources(index) == ["a.txt", "sub/b.md"]
    assert run(index, moved) == {"a.txt": "unchanged", "sub/b.md": "unchanged"}


def test_a_folder_that_cannot_be_read_loses_nothing(
    index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(index, folder)
    scandir = os.scandir

    def forbidden(path: Path) -> object:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(ingestion.os, "scandir", forbidden)
    monkeypatch.setattr(ingestion.os.path, "lexists", lambda path: "sub" not in str(path))
    outcomes = {outcome.source: outcome for outcome in ingest([folder], index)}
    assert outcomes[(folder / "sub").as_posix()].status == "failed"
    assert sources(index) == ["a.txt", "sub/b.md"]
    assert run(index, folder.with_name("missing")) == {folder.with_name("missing").as_posix(): "failed"}
    assert sources(index) == ["a.txt", "sub/b.md"]


def test_uploads(index: Index, tmp_path: Path) -> None:
    write(tmp_path / "tmp1.txt", "One.")
    assert [outcome.status for outcome in ingest_files({"report.txt": tmp_path / "tmp1.txt"}, index)] == ["added"]
    (tmp_path / "tmp1.txt").rename(tmp_path / "tmp2.txt")
    assert [outcome.status for outcome in ingest_files({"report.txt": tmp_path / "tmp2.txt"}, index)] == ["unchanged"]
    write(tmp_path / "tmp3.txt", "Two.")
    assert [outcome.status for outcome in ingest_files({"report.txt": tmp_path / "tmp3.txt"}, index)] == ["updated"]
    assert index.document("report.txt").text == "Two."  # type: ignore[union-attr]


def test_stopping_keeps_what_is_done_and_ends_the_readers(
    index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion, "ENCODED_TOGETHER", 1)
    for number in range(20):
        write(folder / f"{number}.txt", f"Number {number}.")
    outcomes = ingest([folder], index)
    first = [next(outcomes), next(outcomes)]
    assert readers()
    outcomes.close()  # type: ignore[attr-defined]
    assert not readers()
    assert sources(index) == sorted(outcome.source for outcome in first)
    assert len(run(index, folder)) == 22
    assert not readers()


class TestReaderProcess:
    def test_a_file_that_takes_too_long(self, folder: Path) -> None:
        write(folder / "long.txt", "All work and no play. " * 1_000_000)
        reader = ReaderProcess(seconds_per_file=0.3)
        with pytest.raises(UnreadableDocument, match=r"long.txt took longer than 0 s to read"):
            reader.read(folder / "long.txt", "long.txt")
        reader._seconds = 60
        assert reader.read(folder / "a.txt", "a.txt")[0].text == "The heron eats fish."
        reader.close()

    def test_a_file_that_kills_its_reader(self, folder: Path) -> None:
        write(folder / "bomb.txt", "All work and no play. " * 1_000_000)
        reader = ReaderProcess()
        reader.read(folder / "a.txt", "a.txt")
        (process,) = readers()
        killer = threading.Timer(0.05, process.kill)  # as the system does when memory runs out
        killer.start()
        with pytest.raises(UnreadableDocument, match=r"bomb.txt made its reader stop \(code -9\)"):
            reader.read(folder / "bomb.txt", "bomb.txt")
        document, chunks = reader.read(folder / "sub" / "b.md", "sub/b.md")
        assert (document.title, [chunk.text for chunk in chunks]) == ("Foxes", ["The fox digs."])
        reader.close()
        assert not readers()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c(folder: Path, tmp_path: Path) -> None:
    """What is committed stays, the readers end, and nothing but the caller's own words is printed."""
    for number in range(300):
        write(folder / f"{number}.txt", f"Number {number}.")
    program = f"""
        import sys, time
        from hashed_words import HashedWords
        from genaisys.retrieval import ingestion
        from genaisys.retrieval.index import Index
        ingestion.ENCODED_TOGETHER = 1
        try:
            with Index.open({str(tmp_path / "store")!r}, HashedWords()) as index:
                for outcome in ingestion.ingest([{str(folder)!r}], index):
                    print(outcome.source, flush=True)
                    time.sleep(0.01)
        except KeyboardInterrupt:
            sys.exit(130)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    said = [child.stdout.readline() for _ in range(5)]
    grandchildren = psutil.Process(child.pid).children(recursive=True)
    assert grandchildren
    os.killpg(child.pid, signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (130, "")
    assert psutil.wait_procs(grandchildren, timeout=10)[1] == []
    with Index.open(tmp_path / "store", HashedWords()) as index:
        stored = set(sources(index))
        assert {line.rstrip("\n") for line in said + out.splitlines()} <= stored
        assert len(stored) < 302
        assert len(run(index, folder)) == 302


def test_readers_do_not_outlive_a_killed_parent(folder: Path) -> None:
    program = f"""
        import time
        from pathlib import Path
        from genaisys.retrieval.reading import ReaderProcess
        reader = ReaderProcess()
        reader.read(Path({str(folder / "a.txt")!r}), "a.txt")
        print("ready", flush=True)
        time.sleep(60)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    children = psutil.Process(parent.pid).children()
    assert children
    parent.kill()
    parent.communicate()
    assert psutil.wait_procs(children, timeout=10)[1] == []
