import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from genaisys import hub
from genaisys.encoders import Chain, NotAnEncoder, TextEncoder
from genaisys.retrieval.sentences import sentence_spans

TEXTS = [
    "The observatory on the hill was founded in 1889 by two brothers.",
    "Dogs bark.",
    "A telescope with a mirror of two metres was added later, and it is open to visitors on Fridays.",
    "Bread is baked from flour, water, salt and yeast.",
]
PASSAGE = " ".join(TEXTS)


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.from_pretrained("minilm-l6")


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(a, b, dim=-1)


def test_vectors_are_those_of_sentence_transformers_in_float32(encoder: TextEncoder) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(hub.local_path("minilm-l6")), device="cpu")
    texts = [*TEXTS, PASSAGE, "word " * 1000, ""]
    expected = torch.from_numpy(reference.encode(texts))
    assert (cosine(encoder.encode(texts), expected) > 0.999).all()
    passages, _ = encoder.encode_passages([*TEXTS, PASSAGE], [[]] * 5)
    assert (cosine(passages, expected[:5]) > 0.999).all()


def test_vectors_have_unit_length_and_float32(encoder: TextEncoder) -> None:
    passages, sentences = encoder.encode_passages([PASSAGE, "", " \n"], [sentence_spans(PASSAGE), [], [(0, 1)]])
    for vectors in (encoder.encode([*TEXTS, ""]), passages, *sentences):
        assert vectors.dtype == torch.float32
        assert vectors.shape[1] == encoder.dimension == 384
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(len(vectors)))
    assert encoder.encode([]).shape == (0, 384)
    assert encoder.encode_passages([], [])[0].shape == (0, 384)


def test_a_vector_does_not_depend_on_the_batch(encoder: TextEncoder) -> None:
    together = encoder.encode([*TEXTS, PASSAGE, *TEXTS * 40])
    alone = torch.cat([encoder.encode([text]) for text in TEXTS])
    assert (cosine(together[: len(TEXTS)], alone) > 0.999).all()
    assert (cosine(together[-len(TEXTS) :], alone) > 0.999).all()


def test_batches_on_cores_of_their_own_change_nothing_for_other_threads(encoder: TextEncoder) -> None:
    def cores_of_a_new_thread() -> int:
        with ThreadPoolExecutor(1) as threads:
            return threads.submit(torch.get_num_threads).result()

    before = torch.get_num_threads(), cores_of_a_new_thread()
    torch.set_num_threads(3)
    try:
        many = encoder.encode([PASSAGE] * 200)
        assert (torch.get_num_threads(), cores_of_a_new_thread()) == (3, 3)
    finally:
        torch.set_num_threads(before[0])
    assert (cosine(many, encoder.encode([PASSAGE])) > 0.999).all()


def test_several_threads_encode_at_once(encoder: TextEncoder) -> None:
    texts = [[f"{text} Number {number}." for text in TEXTS * 20] for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(encoder.encode, texts))
    for vectors, own in zip(together, texts, strict=True):
        assert (cosine(vectors, encoder.encode(own)) > 0.999).all()


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "modernbert", "mpnet"])
def test_other_architectures_encode_as_sentence_transformers_does(kind: str, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(hub.local_path("minilm-l6"))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if kind == "distilbert":
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    torch.manual_seed(0)
    pad = tokenizer.pad_token_id
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), pad_token_id=pad, **sizes)
    AutoModel.from_config(config).save_pretrained(tmp_path / "parts")
    tokenizer.save_pretrained(tmp_path / "parts")
    whole = Transformer(str(tmp_path / "parts"), max_seq_length=128)
    SentenceTransformer(modules=[whole, Pooling(32)], device="cpu").save(str(tmp_path / "whole"))

    texts = [*TEXTS, PASSAGE]
    expected = torch.from_numpy(SentenceTransformer(str(tmp_path / "whole"), device="cpu").encode(texts))
    assert (cosine(TextEncoder.from_pretrained(str(tmp_path / "whole")).encode(texts), expected) > 0.999).all()


def test_a_sentence_vector_means_what_the_sentence_says(encoder: TextEncoder) -> None:
    _, (sentences,) = encoder.encode_passages([PASSAGE], [sentence_spans(PASSAGE)])
    questions = [
        "When was the observatory founded?",
        "What do dogs do?",
        "How large is the mirror?",
        "What is in bread?",
    ]
    assert (encoder.encode(questions) @ sentences.T).argmax(dim=1).tolist() == [0, 1, 2, 3]


def test_a_single_sentence_without_special_tokens_is_the_mean_of_its_tokens(encoder: TextEncoder) -> None:
    """By hand, from the model itself, for two sentences in one passage."""
    text = f"{TEXTS[0]} {TEXTS[1]}"
    cut = len(TEXTS[0])
    encoding = encoder._tokenizer.encode(text)
    with torch.inference_mode():
        tokens = encoder._model[0].model(input_ids=torch.tensor([encoding.ids])).last_hidden_state[0].float()  # [T, D]
    first = [i for i, (start, end) in enumerate(encoding.offsets) if start < end <= cut]
    second = [i for i, (start, end) in enumerate(encoding.offsets) if cut <= start < end]
    assert len(first) + len(second) == len(encoding.ids) - 2
    _, (sentences,) = encoder.encode_passages([text], [[(0, cut), (cut + 1, len(text))]])
    expected = torch.stack([tokens[first].mean(dim=0), tokens[second].mean(dim=0)])
    assert (cosine(sentences, expected) > 0.9995).all()


def test_a_passage_without_sentences_counts_as_one(encoder: TextEncoder) -> None:
    _, (none,) = encoder.encode_passages([PASSAGE], [[]])
    _, (one,) = encoder.encode_passages([PASSAGE], [[(0, len(PASSAGE))]])
    torch.testing.assert_close(none, one)


def test_sentences_beyond_what_the_model_reads_in_one_pass_keep_their_meaning(encoder: TextEncoder) -> None:
    filler = "The committee met again and nothing of note was decided on that day. " * 60
    text = filler + TEXTS[3]
    spans = [(0, 60), (len(filler), len(text))]
    passages, (sentences,) = encoder.encode_passages([text], [spans])
    bread = encoder.encode(["How is bread baked?"])[0]
    assert sentences[1] @ bread > 0.5 > sentences[0] @ bread
    without, _ = encoder.encode_passages([filler], [[]])
    assert passages[0] @ bread > without[0] @ bread  # the end of a long passage is part of its vector


def test_context_is_read_with_the_passage_and_moves_no_span(encoder: TextEncoder) -> None:
    text = "It was founded in 1889. It has a large mirror."
    spans = [(0, 23), (24, 46)]
    question = encoder.encode(["When was the Vienna observatory founded?"])[0]
    plain, (plain_sentences,) = encoder.encode_passages([text], [spans])
    told, (told_sentences,) = encoder.encode_passages([text], [spans], ["The Vienna observatory"])
    assert told[0] @ question > plain[0] @ question
    assert told_sentences[0] @ question > plain_sentences[0] @ question
    assert told_sentences[0] @ question > told_sentences[1] @ question
    same, _ = encoder.encode_passages([text], [spans], [""])
    torch.testing.assert_close(same, plain)


def test_any_string_can_be_encoded(encoder: TextEncoder) -> None:
    text = "left\ud800right \x00 \U0001f600 é"
    assert torch.isfinite(encoder.encode([text])).all()
    passages, (sentences,) = encoder.encode_passages([text], [[(0, 4), (5, len(text))]])
    assert torch.isfinite(passages).all()
    assert torch.isfinite(sentences).all()


def test_lists_of_unequal_length_are_refused(encoder: TextEncoder) -> None:
    with pytest.raises(ValueError, match="zip"):
        encoder.encode_passages(TEXTS, [[]])


def test_the_model_is_frozen(encoder: TextEncoder) -> None:
    assert not encoder._model.training
    assert not any(parameter.requires_grad for parameter in encoder._model.parameters())
    assert not encoder.encode(TEXTS).requires_grad


def test_encoders_compose(encoder: TextEncoder) -> None:
    """Speech -> text -> vector, with a lookup in place of a transcriber."""
    spoken = dict(enumerate(TEXTS))
    chain = Chain(lambda recordings: [spoken[recording] for recording in recordings], encoder)
    torch.testing.assert_close(chain.encode([2, 0]), encoder.encode([TEXTS[2], TEXTS[0]]))
    assert chain.dimension == encoder.dimension
    assert chain.name.endswith("-> minilm-l6")


def test_a_folder_that_is_no_encoder_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(NotAnEncoder) as refusal:
        TextEncoder.from_pretrained(str(tmp_path))
    assert "\n" not in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)


def test_importing_the_module_loads_no_framework() -> None:
    code = "import sys, genaisys.encoders; sys.exit('torch' in sys.modules or 'sentence_transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
