"""Checkpoints that are refused, each in one plain line, and saving, which is all or nothing."""

import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_models import CONFIGS, VOCABULARY, logits_of, make, one_line, some_tokens
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
)
from transformers.utils.logging import disable_progress_bar

from genaisys.errors import GenaisysError
from genaisys.models.transformer import TransformerLM, llama
from genaisys.models.transformer.architectures import config_from_huggingface, config_to_huggingface
from genaisys.models.transformer.checkpoint import (
    CheckpointBroken,
    CheckpointNotWritten,
    CheckpointUnsupported,
    open_checkpoint,
    parameter_shapes,
)
from genaisys.tokenizers import train_bpe

disable_progress_bar()
FORK = multiprocessing.get_context("fork")


def edit(file: Path, **changes: Any) -> None:
    """Change settings in a JSON file; ``...`` takes one out."""
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))


def sharded(folder: Path) -> None:
    """Save a model of transformers in several files."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=VOCABULARY, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder, max_shard_size="20KB")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The checkpoint of a tiny Llama."""
    make(CONFIGS["llama"]).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


# -- what is refused


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: save_file(
        {key: tensor for key, tensor in load_file(folder / "model.safetensors").items() if key != name},
        folder / "model.safetensors",
    )


def with_tensor(name: str, tensor: Tensor) -> Callable[[Path], None]:
    return lambda folder: save_file(
        load_file(folder / "model.safetensors") | {name: tensor}, folder / "model.safetensors"
    )


def setting(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "config.json", **changes)


def contents(file: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes(content) and None


def pickled(file: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        torch.save(load_file(folder / "model.safetensors"), folder / file)
        (folder / "model.safetensors").unlink()

    return damage


def index(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        names = list(load_file(folder / "model.safetensors"))
        (folder / "model.safetensors").rename(folder / "all.safetensors")
        weight_map = dict.fromkeys(names, "all.safetensors") | changes
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return damage


_UP = "model.layers.1.mlp.up_proj.weight"
BROKEN: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "a tensor is missing": (without(_UP), ("model.safetensors", _UP, "2 layers")),
    "the embedding is missing": (without("model.embed_tokens.weight"), ("model.embed_tokens.weight",)),
    "a tensor too many": (with_tensor("extra", torch.ones(2)), ("model.safetensors", "extra")),
    "a layer too many": (setting(num_hidden_layers=1), ("model.layers.1.", "and 8 more", "1 layers")),
    "wrong shape": (with_tensor(_UP, torch.ones(32, 128)), ("model.safetensors", _UP, "32x128", "128x32")),
    "wrong shape, same size": (with_tensor("model.norm.weight", torch.ones(32, 1)), ("model.norm.weight", "32x1")),
    "a single number": (with_tensor("model.norm.weight", torch.tensor(1.0)), ("model.norm.weight", "single number")),
    "absurd layers": (setting(num_hidden_layers=10**9), ("model.layers.2.", "1000000000 layers")),
    "absurd vocabulary": (setting(vocab_size=10**9), ("model.embed_tokens.weight", "61x32", "1000000000x32")),
    "absurd width": (setting(hidden_size=2**40), ("config.json", "hidden_size")),
    "no layers": (setting(num_hidden_layers=0), ("config.json", "num_hidden_layers is 0")),
    "negative": (setting(hidden_size=-32), ("config.json", "hidden_size is -32")),
    "not a number": (setting(hidden_size="32"), ("config.json", "hidden_size is '32'")),
    "a truth for a number": (setting(num_hidden_layers=True), ("num_hidden_layers is True",)),
    "a setting is missing": (setting(intermediate_size=...), ("config.json", "intermediate_size is missing")),
    "epsilon": (setting(rms_norm_eps=0), ("rms_norm_eps",)),
    "base": (setting(rope_parameters={"rope_type": "default", "rope_theta": float("inf")}), ("rope_theta",)),
    "dropout": (setting(attention_dropout=1.5), ("attention_dropout is 1.5",)),
    "heads": (setting(num_key_value_heads=3, num_attention_heads=4), ("key-value heads",)),
    "odd heads": (setting(head_dim=7), ("head_width 7 is odd",)),
    "tokens": (setting(eos_token_id="</s>"), ("eos_token_id is '</s>'",)),
    "ours": (setting(genaisys=[1]), ("genaisys is [1]",)),
    "no mask token": (setting(genaisys={"masked_weight": 1.0}), ("mask token",)),
    "config.json is no JSON": (contents("config.json", b'{"vocab'), ("config.json", "not JSON")),
    "config.json is a list": (contents("config.json", b"[]"), ("config.json", "no settings")),
    "config.json is binary": (contents("config.json", b"\xff\xfe\x00"), ("config.json",)),
    "config.json nests without end": (contents("config.json", b"[" * 100_000), ("config.json", "not JSON")),
    "generation_config.json": (contents("generation_config.json", b"{"), ("generation_config.json", "not JSON")),
    "weights are empty": (contents("model.safetensors", b""), ("model.safetensors", "broken")),
    "weights are garbage": (contents("model.safetensors", b"\x80\x04" * 99), ("model.safetensors", "broken")),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), ("no weights", "model.safetensors")),
    "index leads outside": (index(**{_UP: "../all.safetensors"}), (_UP, "index.json", "'../all.safetensors'")),
    "index leads to the root": (index(**{_UP: "/all.safetensors"}), (_UP, "index.json")),
    "index leads to a pickle": (index(**{_UP: "all.bin"}), (_UP, "index.json", "'all.bin'")),
    "index leads nowhere": (index(**{_UP: "other.safetensors"}), ("other.safetensors is missing",)),
    "index knows more": (index(nothing="all.safetensors"), ("all.safetensors lacks the tensor nothing",)),
}
UNSUPPORTED: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "architecture": (setting(architectures=["BertModel"]), ("'BertModel'", "LlamaForCausalLM", "GPT2LMHeadModel")),
    "type": (setting(architectures=..., model_type="t5"), ("'t5'", "LlamaForCausalLM")),
    "no architecture": (setting(architectures=..., model_type=...), ("no architecture is named",)),
    "activation": (setting(hidden_act="relu"), ("hidden_act 'relu'", "silu")),
    "yarn": (setting(rope_parameters={"rope_type": "yarn", "rope_theta": 1e4}), ("'yarn'", "llama3")),
    "linear": (setting(rope_parameters=..., rope_scaling={"type": "linear", "factor": 2}), ("'linear'",)),
    "dynamic": (setting(rope_parameters=..., rope_scaling={"rope_type": "dynamic"}), ("'dynamic'",)),
    "partial rotation": (setting(partial_rotary_factor=0.5), ("partial_rotary_factor 0.5",)),
    "quantised": (setting(quantization_config={"quant_method": "awq"}), ("quantised",)),
    "integers": (with_tensor(_UP, torch.ones(128, 32, dtype=torch.int8)), ("model.safetensors", _UP, "I8")),
    "pickle of transformers": (pickled("pytorch_model.bin"), ("pytorch_model.bin", "convert it to safetensors")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_plainly(name: str, folder: Path) -> None:
    damage, words = BROKEN[name]
    damage(folder)
    with pytest.raises(CheckpointBroken) as error:
        TransformerLM.from_pretrained(folder)
    message = one_line(error.value)
    assert str(folder) in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_known_is_refused_plainly(name: str, folder: Path) -> None:
    damage, words = UNSUPPORTED[name]
    damage(folder)
    with pytest.raises((CheckpointUnsupported, CheckpointBroken)) as error:
        TransformerLM.from_pretrained(folder)
    message = one_line(error.value)
    assert str(folder) in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("suffix", ["pt", "bin", "pth", "ckpt", "pkl"])
def test_a_pickle_is_never_opened(suffix: str, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return Path.touch, (tmp_path / "ran",)

    torch.save(Attack(), tmp_path / f"model.{suffix}")
    with pytest.raises(CheckpointUnsupported, match="pickle") as error:
        TransformerLM.from_pretrained(tmp_path / f"model.{suffix}")
    one_line(error.value)
    assert not (tmp_path / "ran").exists()


def test_a_truncated_or_garbled_file_is_refused_or_read(folder: Path) -> None:
    """Whatever happens to its bytes: what is raised is ours."""
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")

    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(st.integers(0, len(whole) - 1), st.integers(0, header - 1), st.integers(0, 255))
    def check(end: int, place: int, byte: int) -> None:
        file.write_bytes(whole[:end])
        with pytest.raises(CheckpointBroken):
            open_checkpoint(folder)
        file.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
        try:
            for name, tensor in (checkpoint := open_checkpoint(folder)).items():
                assert tensor.shape == dict(parameter_shapes(checkpoint.config))[name]
        except GenaisysError:
            pass

    check()


def test_any_settings_are_refused_or_read() -> None:
    good = config_to_huggingface(CONFIGS["qwen2 with a window"])
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=5,
    )
    names = st.sampled_from([*good, "genaisys", "rope_scaling", "layer_types", "partial_rotary_factor"])

    @settings(max_examples=400, deadline=None, derandomize=True, database=None)
    @given(st.dictionaries(names, values, min_size=1, max_size=3), st.dictionaries(st.just("eos_token_id"), values))
    def check(changes: dict[str, Any], generation: dict[str, Any]) -> None:
        try:
            config = config_from_huggingface(good | changes, generation)
        except GenaisysError:
            pass
        else:
            assert config.heads > 0
            assert config.window is None or config.window > 0
            assert all(0 <= token < config.vocabulary_size for token in config.ends + config.impossible)

    check()


# -- all or nothing


def test_a_smaller_model_replaces_a_sharded_one(tmp_path: Path) -> None:
    sharded(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    (tmp_path / "notes.txt").write_text("mine")
    ours = make(CONFIGS["gpt1"])
    ours.save_pretrained(tmp_path)
    names = {"config.json", "generation_config.json", "model.safetensors", "notes.txt"}
    assert {file.name for file in tmp_path.iterdir()} == names
    assert torch.equal(
        logits_of(TransformerLM.from_pretrained(tmp_path), some_tokens()), logits_of(ours, some_tokens())
    )


def test_nothing_of_an_older_tokenizer_stays(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"layers": 1, "width": 8, "heads": 2}
    older = train_bpe(["one text"], vocabulary_size=300, chat_template="old")
    TransformerLM(llama(300, 16, **sizes), older).save_pretrained(tmp_path)
    (tmp_path / "special_tokens_map.json").write_text('{"sep_token": "<|old|>"}')
    TransformerLM(llama(300, 16, **sizes)).save_pretrained(tmp_path)
    assert TransformerLM.from_pretrained(tmp_path).tokenizer is not None, "a model without one leaves it alone"
    TransformerLM(llama(310, 16, **sizes), train_bpe(["another"], vocabulary_size=310)).save_pretrained(tmp_path)
    newer = TransformerLM.from_pretrained(tmp_path).tokenizer
    assert newer is not None
    assert newer.chat_template is None
    assert "sep_token" not in newer.special_tokens


def test_files_can_be_read_by_those_who_may_read_the_folder(folder: Path) -> None:
    modes = {file.stat().st_mode & 0o777 for file in folder.iterdir()}
    assert len(modes) == 1


def test_no_room_is_said_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("genaisys.hub.checkpoints.save_file", full)
    with pytest.raises(CheckpointNotWritten, match="No space left") as error:
        make(CONFIGS["gpt1"]).save_pretrained(folder)
    one_line(error.value)
    assert TransformerLM.from_pretrained(folder).config == CONFIGS["llama"], "the old model is as it was"
    with pytest.raises(CheckpointNotWritten) as error:
        make(CONFIGS["gpt1"]).save_pretrained(folder / "config.json")
    one_line(error.value)


def save_until(event: int, folder: Path) -> None:
    """Save another model into ``folder``, and die at the ``event``-th file operation."""
    remaining = [event]

    def die(name: str, arguments: tuple[object, ...]) -> None:
        if name in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod") and str(folder) in str(
            arguments
        ):
            remaining[0] -= 1
            if not remaining[0]:
                os._exit(9)

    sys.addaudithook(die)
    make(CONFIGS["llama3"], seed=2).save_pretrained(folder)
    os._exit(0)


def test_a_save_that_dies_leaves_no_mixture(folder: Path) -> None:
    old, new = make(CONFIGS["llama"]), make(CONFIGS["llama3"], seed=2)
    original = folder.with_name("original")
    folder.rename(original)
    seen = set()
    for event in range(1, 100):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(original, folder)
        process = FORK.Process(target=save_until, args=(event, folder))
        process.start()
        process.join()
        try:
            found = TransformerLM.from_pretrained(folder)
        except GenaisysError:
            assert not (folder / "config.json").exists()
        else:
            expected = old if found.config == old.config else new
            assert found.config == expected.config
            assert torch.equal(logits_of(found, some_tokens()), logits_of(expected, some_tokens()))
            seen.add("old" if expected is old else "new")
        if process.exitcode == 0:
            break
        assert process.exitcode == 9
    assert event > 8
    assert {"old", "new"} <= seen
