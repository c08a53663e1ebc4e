"""``genaisys molecules``: what it prints and writes, and how it fails."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genaisys.cli import app
from genaisys.models.transformer import TransformerLM, llama
from genaisys.tokenizers import smiles_tokenizer

run = CliRunner().invoke


@pytest.fixture(scope="module")
def alkanes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that has learned nothing."""
    tokenizer = smiles_tokenizer(["CCO"])
    special = {"pad": tokenizer.pad, "bos": tokenizer.bos, "ends": (tokenizer.eos,)}
    model = TransformerLM(llama(tokenizer.vocabulary_size, 16, layers=1, width=64, heads=2, **special), tokenizer)
    folder = tmp_path_factory.mktemp("alkanes") / "model"
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def writes_carbon(alkanes: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That model, from which nothing, methane, ethane and propane are drawn in turns."""
    (carbon,) = smiles_tokenizer(["CCO"]).encode("C")
    monkeypatch.setattr(
        "genaisys.molecules.sampling.sample_many",
        lambda model, prompt, n, **settings: [[carbon] * (number % 4) for number in range(n)],
    )
    return alkanes


def test_sample_writes_molecules_and_tells_the_rate(writes_carbon: Path, tmp_path: Path) -> None:
    file = tmp_path / "some.csv"
    done = run(
        app, ["molecules", "sample", "-n", "3", "--model", str(writes_carbon), "--weight", "20..", "--out", str(file),
              "--json"]
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["smiles"] == ["CC", "CCC", "CC"]
    assert result["validity"] == 5 / 7
    assert result["unwanted"] == 2
    assert len(file.read_text().splitlines()) == 4


def test_what_was_found_is_kept_when_no_more_is_wanted(
    writes_carbon: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are three different ones, and a fourth is waited for: until it is given up, or Ctrl-C."""
    monkeypatch.setattr("genaisys.molecules.sampling._PATIENCE", 300)
    file = tmp_path / "some.smi"
    arguments = ["molecules", "sample", "-n", "4", "--unique", "--model", str(writes_carbon), "--out", str(file)]
    done = run(app, arguments)
    assert done.exit_code == 1
    assert "none was wanted" in done.stderr
    assert "leave out unique" in done.stderr
    assert file.read_text() == "C\nCC\nCCC\n"

    from genaisys.molecules.parsing import parsed

    read = []

    def interrupted(smiles: str) -> object:
        read.append(smiles)
        if len(read) == 3:
            raise KeyboardInterrupt
        return parsed(smiles)

    monkeypatch.setattr("genaisys.molecules.sampling.parsed", interrupted)
    done = run(app, [*arguments, "--json"])
    assert done.exit_code == 130
    assert file.read_text() == "C\n"
    assert json.loads(done.stdout)["smiles"] == ["C"]


def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genaisys.molecules.generators.load_generator", lambda name: pytest.fail("it has begun"))
    (tmp_path / "a-file").touch()
    for verb in (["sample", "-n", "500"], ["optimise", "--top", "500"]):
        for name, message in {
            "some.xyz": "name a .smi",
            "some": "a file without ending",
            "some.png": "holds 1 to 400",
            "a-file/some.smi": "cannot be written",
        }.items():
            done = run(app, ["molecules", *verb, "--out", str(tmp_path / name)])
            assert done.exit_code == 1
            assert message in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-file"]


@pytest.fixture
def agent_writes_carbon(alkanes: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That model, whose agent writes chains of nought to nine carbons in each step, and is stopped in the third."""
    (carbon,) = smiles_tokenizer(["CCO"]).encode("C")
    steps = []

    def write(model: object, prompt: object, n: int, **settings: object) -> list[list[int]]:
        steps.append(n)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return [[carbon] * (number % 10) for number in range(n)]

    monkeypatch.setattr("genaisys.molecules.optimisation.sample_many", write)
    return alkanes


@pytest.mark.parametrize("goal", ["qed", "celecoxib", "median", "CCC"])
def test_optimise_gives_the_best(agent_writes_carbon: Path, goal: str) -> None:
    done = run(app, ["molecules", "optimise", "--goal", goal, "--model", str(agent_writes_carbon), "--steps", "2",
                     "--top", "3", "--json"])  # fmt: skip
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    scores = [each["score"] for each in result["best"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 3
    assert result["drawn"] == 128
    assert result["mean"] == pytest.approx(sum(scores) / 3)
    assert result["lowest"] == scores[-1]
    if goal == "CCC":
        assert result["best"][0] == {"smiles": "CCC", "score": 1}


def test_optimise_gives_different_ones_of_a_score(agent_writes_carbon: Path) -> None:
    arguments = ["molecules", "optimise", "--goal", "qed", "--model", str(agent_writes_carbon), "--steps", "1"]
    done = run(app, [*arguments, "--at-least", "0.4", "--json"])
    best = json.loads(done.stdout)["best"]
    assert 1 < len(best) < 9
    assert all(each["score"] >= 0.4 for each in best)
    assert "CCCCCC" in best[0]["smiles"]
    done = run(app, [*arguments, "--at-least", "0.99"])
    assert done.exit_code == 1
    assert "no molecule has the score that is wanted, the highest is 0.4" in done.stderr


def test_a_search_ends_when_the_best_get_no_better(agent_writes_carbon: Path) -> None:
    """It writes the same in its second step as in its first."""
    arguments = ["molecules", "optimise", "--model", str(agent_writes_carbon), "--steps", "9", "--patience", "1"]
    done = run(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["steps"] == 2


def test_an_interrupted_search_gives_what_it_has_found(agent_writes_carbon: Path, tmp_path: Path) -> None:
    file = tmp_path / "best.csv"
    done = run(app, ["molecules", "optimise", "--model", str(agent_writes_carbon), "--out", str(file)])
    assert done.exit_code == 130
    assert len(file.read_text().splitlines()) == 1 + 9


def test_raw_samples_are_what_the_model_writes(writes_carbon: Path, tmp_path: Path) -> None:
    file = tmp_path / "raw.smi"
    done = run(app, ["molecules", "sample", "-n", "4", "--raw", "--model", str(writes_carbon), "--out", str(file)])
    assert done.exit_code == 0, done.output
    assert file.read_text() == "\nC\nCC\nCCC\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "--model", "nothing-here"], "there is no model nothing-here"),
        (["sample", "--qed", "high"], "write a number, or a range"),
        (["sample", "--scaffold", "CC("], "a branch that is not closed (opened at position 3)"),
        (["sample", "--scaffold", "[c,n](("], "neither SMILES nor SMARTS"),
        (["sample", "--temperature", "0"], "above 0"),
        (["sample", "--raw", "--unique"], "leave out"),
        (["score", "no-such-file.smi"], "cannot be read"),
        (["draw", "CC(C"], "a branch that is not closed"),
        (["draw", "no-such-file.smi"], "no-such-file.smi cannot be read: No such file"),
        (["similar", "C1CC"], "a ring that is not closed"),
        (["similar", "CC", "--encoder", "smiles-gpt"], "MOSES is searched by morgan only"),
        (["similar", "CC", "--library", "no-such-file.smi", "--encoder", "ecfp"], "morgan or smiles-gpt"),
    ],
)
def test_failures_are_one_plain_line(arguments: list[str], message: str) -> None:
    done = run(app, ["molecules", *arguments])
    assert done.exit_code == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_empty_samples_count_as_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that stops at once has written something, though nothing: so says the file of its raw samples."""
    monkeypatch.setattr("genaisys.molecules.profiles.structural_alerts", lambda: ("[#6]1-[#8]-[#6]-1",))
    file, known = tmp_path / "raw.smi", tmp_path / "known.smi"
    file.write_text("\nCCO\n\n#CC\nCCN\n")  # also one that looks like a comment
    known.write_text("CCO\nCCN\n")
    done = run(app, ["molecules", "score", str(file), "--reference", str(known), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["valid"] == 2 / 5


def test_score_against_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genaisys.molecules.profiles.structural_alerts", lambda: ("[#6]1-[#8]-[#6]-1",))
    file, known = tmp_path / "some.smi", tmp_path / "known.smi"
    file.write_text("CCO\nOCC\nCC(\nc1ccccc1\n")
    known.write_text("CCO\nCCN\nCCC\nC1CC\n")
    done = run(app, ["molecules", "score", str(file), "--reference", str(known), "--json"])
    assert done.exit_code == 0, done.output
    few, left_out = done.stderr.splitlines()
    assert "FCD and Scaf depend on how many are compared, and these are 4: MOSES takes 30,000" in few
    assert left_out == "1 left out: a ring that is not closed"
    result = json.loads(done.stdout)
    assert result["valid"] == 0.75
    assert result["Novelty"] == 0.5
    assert result["unique@1000"] == pytest.approx(2 / 3)
    assert result["Scaf/Test"] is None  # there are none: that is not 0, and JSON has no NaN


def test_similar_and_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAISYS_HOME", str(tmp_path / "home"))
    known = tmp_path / "known.smi"
    known.write_text("CCN\nOCC\nc1ccccc1\n")
    for encoder in ("morgan", "smiles-gpt"):
        arguments = ["similar", "CCO", "--library", str(known), "-k", "2", "--encoder", encoder, "--json"]
        done = run(app, ["molecules", *arguments])
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert len(found) == 2
        assert found[0] == {"smiles": "OCC", "similarity": pytest.approx(1.0, abs=1e-3)}
    known.write_text("CCN\nC1CC\n")
    done = run(app, ["molecules", "similar", "CCO", "--library", str(known)])
    assert "CCN" in done.stdout
    assert "1 left out: a ring that is not closed" in done.stderr
    picture = tmp_path / "picture.png"
    done = run(app, ["molecules", "draw", "CCO", str(known), "--out", str(picture)])
    assert done.exit_code == 0, done.output
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_file_without_molecules_says_why(tmp_path: Path) -> None:
    file = tmp_path / "some.smi"
    reasons = "(2 rejected: a ring that is not closed; 1 rejected: a branch that is not closed)"
    for text, message in {"C1CC\nC1CN\nCC(C\n": reasons, "": "it is empty"}.items():
        file.write_text(text)
        done = run(app, ["molecules", "check", str(file)])
        assert done.exit_code == 1
        assert message in done.stderr


def test_check_counts_rejects_and_keeps_the_rest(tmp_path: Path) -> None:
    file, clean = tmp_path / "some.csv", tmp_path / "clean.smi"
    file.write_text("name,smiles\na,CCO\nb,CC(C\nc,C1CC\nd,c1ccccc1\n")
    done = run(app, ["molecules", "check", str(file), "--out", str(clean), "--json"])
    assert done.exit_code == 0, done.output
    branch = {
        "line": 3,
        "smiles": "CC(C",
        "reason": "a branch that is not closed (opened at position 3)",
        "position": 3,
    }
    ring = {"line": 4, "smiles": "C1CC", "reason": "a ring that is not closed (ring 1, opened at position 2)",
            "position": 2}  # fmt: skip
    assert json.loads(done.stdout) == {
        "molecules": 2,
        "rejects": {"a branch that is not closed": 1, "a ring that is not closed": 1},
        "rejected": [branch, ring],
    }
    assert clean.read_text() == "CCO\nc1ccccc1\n"


def test_check_shows_the_first_rejects(tmp_path: Path) -> None:
    file = tmp_path / "some.smi"
    file.write_text("CCO\n" + "CC(C\n" * 7)
    lines = run(app, ["molecules", "check", str(file)]).stdout.splitlines()
    assert lines[:2] == ["1 molecules", "7 rejected: a branch that is not closed"]
    assert lines[2] == "line 2: 'CC(C', a branch that is not closed (opened at position 3)"
    assert lines[6:] == ["line 6: 'CC(C', a branch that is not closed (opened at position 3)",
                         "and 2 more: --json names all"]  # fmt: skip


def test_what_is_not_drawn_is_told(tmp_path: Path) -> None:
    file = tmp_path / "some.smi"
    file.write_text("CCO\nCC(C\nC1CC\n")
    done = run(app, ["molecules", "draw", str(file), "--out", str(tmp_path / "some.svg")])
    assert done.exit_code == 0, done.output
    assert done.stderr == "1 left out: a branch that is not closed\n1 left out: a ring that is not closed\n"
