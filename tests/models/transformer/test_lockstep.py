"""Texts that grow as a tree: what is shared and kept gives the numbers of the model, and the trees their density."""

from collections import Counter

import numpy as np
import pytest
import torch

from genaisys.models.transformer import TransformerLM, gpt, llama, lockstep, teenygpt
from genaisys.models.transformer.cache import OutOfMemory
from genaisys.models.transformer.generated import GenerationFailed
from genaisys.models.transformer.kernel.tree_attention import attend_along_paths
from genaisys.models.transformer.lockstep import sample_many

PAD, BOS, EOS = 0, 1, 2
SPECIAL = {"pad": PAD, "bos": BOS, "ends": (EOS,), "impossible": (PAD, BOS)}


def tiny(preset: type = llama, **settings: object) -> TransformerLM:
    torch.manual_seed(0)
    shape = {"layers": 2, "width": 32, "heads": 4, "tied_embeddings": False, **SPECIAL, **settings}
    model = TransformerLM(preset(7, 9, **shape)).eval()
    with torch.no_grad():
        model.head.weight.mul_(10)
    return model


def drawn(model: TransformerLM, n: int, seed: int = 0) -> list[list[int]]:
    return list(sample_many(model, [BOS], n, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("heads", [4, 2, 1])
def test_attention_along_paths_is_attention(heads: int) -> None:
    """Three rows, two of which share all but their own node; heads of queries share heads of keys."""
    torch.manual_seed(0)
    paths = torch.tensor([[0, 1, 2, 4], [0, 1, 2, 5], [0, 1, 3, 6]], dtype=torch.int32)
    nodes = torch.randn(7, 2, heads, 8).bfloat16()
    query, key, value = torch.randn(3, 4, 8), torch.randn(3, heads, 8), torch.randn(3, heads, 8)
    mixed = torch.zeros(3, 4, 8)
    arrays = [query, key, value, torch.empty(0, 0), paths, nodes.view(torch.uint16), mixed]
    attend_along_paths(*(array.numpy() for array in arrays))
    assert torch.equal(nodes[4:, 0], key.bfloat16())
    assert torch.equal(nodes[4:, 1], value.bfloat16())
    keys, values = nodes[paths].float().transpose(1, 3).unbind(2)  # [R, heads, T, d]
    expected = torch.nn.functional.scaled_dot_product_attention(query[:, :, None], keys, values, enable_gqa=True)
    assert torch.allclose(mixed, expected[:, :, 0], atol=1e-5)


@pytest.mark.parametrize("preset", [teenygpt, gpt, llama])
def test_each_step_gives_the_models_logits(preset: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """With products in float32 only keys and values are rounded. Of small groups, many wait to be taken up later."""
    monkeypatch.setattr(lockstep, "fast_dtype", lambda: torch.float32)
    monkeypatch.setattr(lockstep, "_WIDEST", 3)
    model, seen = tiny(preset), []
    step, read = lockstep._Tree._step, {}

    def watched(tree: lockstep._Tree, tokens: torch.Tensor, paths: torch.Tensor) -> torch.Tensor:
        logits = step(tree, tokens, paths)
        read.update(zip(map(tuple, paths[:, -1:].tolist()), tokens.tolist(), strict=True))
        for path, row in zip(paths.tolist(), logits.clone(), strict=True):
            seen.append(([read[(node,)] for node in path], row))
        return logits

    monkeypatch.setattr(lockstep._Tree, "_step", watched)
    drawn(model, 40)
    assert max(len(tokens) for tokens, _ in seen) > 4
    for tokens, logits in seen:
        with torch.no_grad():
            expected = model(torch.tensor([tokens]))[0, -1]
        assert torch.allclose(logits, expected, atol=0.02), tokens


def test_a_branch_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    step = lockstep._Tree._step

    def counted(tree: lockstep._Tree, tokens: torch.Tensor, paths: torch.Tensor) -> torch.Tensor:
        steps.append(len(tokens))
        return step(tree, tokens, paths)

    monkeypatch.setattr(lockstep._Tree, "_step", counted)
    texts = drawn(tiny(), 500)
    beginnings = {tuple(text[:length]) for text in texts for length in range(min(len(text), 7) + 1)}
    assert sum(steps) == len(beginnings)  # the eighth token fills the context and is not read
    assert len(beginnings) < sum(map(len, texts)) / 2


def test_small_groups_and_trees_draw_from_the_same_density(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two tokens, in groups of eight branches at most and several trees."""
    model = tiny()
    monkeypatch.setattr(lockstep, "_WIDEST", 8)
    monkeypatch.setattr(lockstep, "_AT_ONCE", 1000)
    n = 4000
    counts = Counter(tuple(text[:2]) for text in drawn(model, n))
    with torch.no_grad():
        first = model(torch.tensor([[BOS]]))[0, -1].index_fill(0, torch.tensor([PAD, BOS]), -torch.inf).softmax(-1)
        for token in range(3, 7):
            second = model(torch.tensor([[BOS, token]]))[0, -1]
            second = second.index_fill(0, torch.tensor([PAD, BOS]), -torch.inf).softmax(-1)
            for following in range(3, 7):
                p = float(first[token] * second[following])
                assert counts[token, following] / n == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5 + 2e-3)


def test_the_same_seed_gives_the_same_texts_on_any_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockstep, "_AT_ONCE", 50)
    model = tiny()
    alone = drawn(model, 210, seed=3)
    assert len(alone) == 210
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert drawn(model, 210, seed=3) == alone
    assert drawn(model, 210, seed=4) != alone
    assert drawn(model, 0) == []


def test_the_order_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours are no likelier to begin alike than texts far apart, though the tree takes them together."""
    monkeypatch.setattr(lockstep, "_WIDEST", 8)
    first = np.array([(text or [EOS])[0] for text in drawn(tiny(), 4000)])
    alike_next, alike_far = (first[:-1] == first[1:]).mean(), (first[:2000] == first[2000:]).mean()
    assert alike_next == pytest.approx(alike_far, abs=0.05)


def test_no_more_memory_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(kv_heads=2)  # 2 layers, 2 heads of keys and 2 of values, 8 numbers each
    of_a_text = 9 * 2 * (2 + 2) * 8 * 2  # bytes
    monkeypatch.setattr(lockstep, "_MEMORY_LIMIT", 3 * of_a_text + 1)
    held, step = set(), lockstep._Tree._step

    def watched(tree: lockstep._Tree, tokens: torch.Tensor, paths: torch.Tensor) -> torch.Tensor:
        held.add(tree._nodes.nbytes)
        assert len(tokens) <= 3
        assert int(paths.max()) < tree._nodes.shape[1]
        return step(tree, tokens, paths)

    monkeypatch.setattr(lockstep._Tree, "_step", watched)
    assert len(drawn(model, 200)) == 200
    assert held == {3 * of_a_text}
    monkeypatch.setattr(lockstep, "_MEMORY_LIMIT", of_a_text - 1)
    with pytest.raises(OutOfMemory, match=f"one text needs {of_a_text:,} bytes"):
        drawn(model, 1)


def test_texts_are_drawn_in_parts_where_the_vocabulary_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny()
    together = drawn(model, 300)
    search, sizes = torch.searchsorted, []

    def watched(below: torch.Tensor, random: torch.Tensor, **settings: bool) -> torch.Tensor:
        sizes.append(below.numel())
        return search(below, random, **settings)

    monkeypatch.setattr(torch, "searchsorted", watched)
    monkeypatch.setattr(lockstep, "_AT_HAND", 10 * 7)
    assert drawn(model, 300) == together
    assert max(sizes) == 10 * 7


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_damaged_weights_are_told(value: float) -> None:
    model = tiny()
    with torch.no_grad():
        model.blocks[1].mlp.down.weight[0, 0] = value
    with pytest.raises(GenerationFailed, match="no number at token 1"):
        drawn(model, 5)
