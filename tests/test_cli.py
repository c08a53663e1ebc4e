"""The command as a person or a program uses it: a real process, real parts, real files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

GENAISYS = [sys.executable, "-m", "genaisys"]


def run(*arguments: object, home: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GENAISYS, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "GENAISYS_HOME": str(home)},
    )


def plain_line(result: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failed command says."""
    assert result.returncode not in (0, None)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return lines[0]


def test_index_search_ask(tmp_path: Path, samples: Path) -> None:
    store = tmp_path / "store"
    first = run("index", samples, "--store", store, "--json", home=tmp_path)
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert report["added"] == len(report["outcomes"]) == sum(path.is_file() for path in samples.rglob("*"))

    again = json.loads(run("index", samples, "--store", store, "--json", home=tmp_path).stdout)
    assert again["unchanged"] == report["added"]

    question = next(entry for entry in sample_questions() if entry["answer"])
    found = run("search", question["question"], "--store", store, "-k", "3", "--json", home=tmp_path)
    hits = json.loads(found.stdout)
    assert len(hits) == 3
    assert set(hits[0]) == {"source", "page", "start", "end", "text", "score"}
    assert question["source"] in {hit["source"] for hit in hits}
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)

    asked = run("ask", question["question"], "--store", store, "--json", home=tmp_path)
    answer = json.loads(asked.stdout)
    assert set(answer) == {"answer", "refused", "citations", "sentences", "timings"}
    assert not answer["refused"]
    assert question["answer"] in " ".join(citation["quote"] for citation in answer["citations"])
    assert set(answer["citations"][0]) == {"source", "page", "start", "end", "quote"}

    said = run("ask", question["question"], "--store", store, home=tmp_path)
    assert said.returncode == 0
    assert question["source"] in said.stdout


def test_a_bad_file_is_named_and_the_others_are_indexed(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "good.md").write_text("# Tides\n\nHigh water comes at noon.\n")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7\nnothing that a reader could use")
    result = run("index", folder, "--store", tmp_path / "store", home=tmp_path)
    assert result.returncode == 1
    assert "bad.pdf" in result.stderr
    assert "Traceback" not in result.stderr
    hits = json.loads(run("search", "high water", "--store", tmp_path / "store", "--json", home=tmp_path).stdout)
    assert [hit["source"] for hit in hits] == ["good.md"]


def test_a_missing_store_says_how_to_make_one(tmp_path: Path) -> None:
    assert "genaisys index" in plain_line(run("search", "x", "--store", tmp_path / "none", home=tmp_path))
    assert "genaisys index" in plain_line(run("ask", "x?", home=tmp_path))
    assert "genaisys index" in plain_line(run("chat", home=tmp_path))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert "nowhere" in plain_line(run("index", tmp_path / "nowhere", "--store", tmp_path / "store", home=tmp_path))


def test_a_store_path_that_is_a_file_is_refused(tmp_path: Path, samples: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert "file" in plain_line(run("index", samples, "--store", tmp_path / "file", home=tmp_path))


def test_unknown_parts_are_refused_without_a_network(tmp_path: Path) -> None:
    assert "smollm2-135m-instruct" in plain_line(run("pull", "smollm2-135m-instuct", home=tmp_path))


def test_a_question_without_words_is_refused(sample_store: Path, tmp_path: Path) -> None:
    for verb in ("ask", "search"):
        result = run(verb, " \n", "--store", sample_store, home=tmp_path)
        assert result.returncode == 2
        assert "is empty" in result.stderr
        assert result.stdout == ""


def test_json_stands_alone_on_stdout_whatever_is_asked(sample_store: Path, tmp_path: Path) -> None:
    for question in (
        "the of and",
        "🔭🌊",
        "Wie hoch ist die Kuppel?",
        b"caf\xe9 \xff?".decode(errors="surrogateescape"),
    ):
        found = run("search", question, "--store", sample_store, "-k", "1000", "--json", home=tmp_path)
        assert len(json.loads(found.stdout)) > 10
        assert found.stderr == ""


def test_what_was_left_out_is_said_in_whole_lines(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / f"{'long ' * 40}.txt").write_text("")
    (folder / "odd\x1b[31m\n.txt").write_text("")
    result = run("index", folder, "--store", tmp_path / "store", home=tmp_path)
    skipped, odd, long = sorted(result.stderr.split("\n")[:-1], reverse=True)
    assert skipped == "skipped  link: is a link that leads out of the folder; to index its target, name that itself"
    assert odd.startswith("failed  odd�[31m�.txt")
    assert "\x1b" not in odd
    assert long == f"failed  {'long ' * 40}.txt is empty; there is nothing to index"


def test_a_closed_or_full_output_is_no_traceback(sample_store: Path, tmp_path: Path) -> None:
    command = [*GENAISYS, "search", "telescope", "--store", str(sample_store), "-k", "1000", "--json"]
    with open("/dev/full", "wb") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert "No space left" in plain_line(result)
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True)
    assert (closed.returncode, closed.stderr) == (0, "")
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert reader.stdout
    assert reader.stderr
    reader.stdout.close()
    assert reader.stderr.read() == b""
    assert reader.wait() == 1


def test_chat_ends_where_there_is_no_input(sample_store: Path, tmp_path: Path) -> None:
    command = [*GENAISYS, "chat", "--store", str(sample_store)]
    closed = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", *command], capture_output=True, text=True)
    assert (closed.returncode, closed.stderr) == (0, "")


def test_models_lists_every_part_with_its_licence_and_hash(tmp_path: Path) -> None:
    parts = json.loads(run("models", "--json", home=tmp_path).stdout)
    by_name = {part["name"]: part for part in parts}
    assert by_name["smollm2-135m-instruct"]["present"]
    assert by_name["minilm-l6"]["licence"] == "Apache-2.0"
    assert all(len(part["sha256"]) == 64 for part in parts)


def test_chat_understands_a_follow_up(sample_store: Path, tmp_path: Path) -> None:
    question = next(entry for entry in sample_questions() if entry["answer"])
    result = run("chat", "--store", sample_store, home=tmp_path, stdin=question["question"] + "\n\n")
    assert result.returncode == 0, result.stderr
    assert question["source"] in result.stdout


def start(*arguments: object, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*GENAISYS, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "GENAISYS_HOME": str(home)},
        start_new_session=True,  # as in a terminal, where Ctrl-C reaches every process of the foreground group
    )


def press_ctrl_c(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors, errors


def test_ctrl_c_while_indexing_keeps_what_is_done(tmp_path: Path) -> None:
    folder, store = tmp_path / "many", tmp_path / "store"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.txt").write_text(f"Note {number}. " + f"The buoy {number} rings. " * 50)
    process = start("index", folder, "--store", store, home=tmp_path)
    while process.poll() is None and not (store / "index.db").exists():
        time.sleep(0.1)
    time.sleep(1)
    press_ctrl_c(process)
    assert process.returncode == 130
    finished = run("index", folder, "--store", store, "--json", home=tmp_path)
    assert finished.returncode == 0, finished.stderr


def test_ctrl_c_at_the_prompt(tmp_path: Path, sample_store: Path) -> None:
    process = start("chat", "--store", sample_store, home=tmp_path)
    time.sleep(3)
    press_ctrl_c(process)


def test_ctrl_c_ends_the_app(tmp_path: Path) -> None:
    process = start("app", "--no-browser", home=tmp_path)
    assert process.stdout is not None
    assert "127.0.0.1" in process.stdout.readline()
    press_ctrl_c(process)


def sample_questions() -> list[dict[str, str]]:
    return json.loads((Path(__file__).parent / "retrieval" / "sample_questions.json").read_text())
