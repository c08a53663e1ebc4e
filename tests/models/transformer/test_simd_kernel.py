"""The decoding kernel: its instructions against float64, its logits against the model's, and rows that stay alone."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engines import cache_for, numbers, packed, pages_of
from numba import njit
from tiny_models import CONFIGS, make
from torch import Tensor

from genaisys.models.transformer import PRESETS, TransformerConfig, gpt, kernel, llama, simd, teenygpt
from genaisys.models.transformer.inference import PackedTransformer
from genaisys.models.transformer.simd import (
    BLOCK,
    LINE,
    PRODUCTS,
    Rows,
    exp_and_sum,
    logistic,
    multiply_1,
    multiply_2,
    multiply_4,
    multiply_8,
    normal_distribution,
    put_line,
)

MULTIPLY = {1: multiply_1, 2: multiply_2, 4: multiply_4, 8: multiply_8}
SLOWER = {"vnni 512": ["plain", "vnni 256"], "vnni 256": ["plain"], "plain": []}[PRODUCTS]

ODD = {
    "odd in all": llama(11, 20, layers=2, width=12, heads=3, kv_heads=1, hidden=10),
    "odd and post-norm": teenygpt(11, 20, layers=1, width=12, heads=3, hidden=13, activation="gelu"),
    "one head, one number": gpt(3, 9, layers=1, width=5, heads=1, head_width=2, hidden=1, tied_embeddings=False),
    "heads wider than the stream": llama(70, 20, layers=1, width=20, heads=6, kv_heads=3, head_width=24, hidden=9),
    "wider than a line": llama(61, 20, layers=1, width=72, heads=1, head_width=72, hidden=65, query_bias=True),
    "window of one": gpt(61, 20, layers=2, width=32, heads=4, window=1),
    "gated, post-norm, rotary": teenygpt(
        61, 20, width=16, heads=2, hidden=24, gated=True, positions="rotary", norm="rms", kv_heads=1
    ),
} | {f"preset {preset}": make_config(61, 20, layers=2, width=32, heads=4) for preset, make_config in PRESETS.items()}


# -- instructions


@pytest.mark.parametrize("rows", MULTIPLY)
def test_products_of_floats_are_those_of_float64(rows: int) -> None:
    """Added to what is there, for any number of inputs, from any column on."""
    multiply, random = MULTIPLY[rows], np.random.default_rng(rows)
    weights = random.normal(size=7 + 37 * BLOCK).astype(np.float32)
    x = random.normal(size=(2 + rows, 45)).astype(np.float32)
    out = random.normal(size=(1 + rows, 5 + BLOCK + 3)).astype(np.float32)
    none = np.zeros((1, 1), np.float32), np.zeros((1, 1), np.int32)

    @njit
    def run(weights: Any, x: Any, out: Any) -> None:
        multiply(weights, 7, x, 2, 6, 37, out, 1, 5)

    expected = out.astype(np.float64)
    expected[1:, 5:-3] += x[2:, 6:43].astype(np.float64) @ weights[7:].astype(np.float64).reshape(37, BLOCK)
    run(weights, Rows(x, *none), out)
    np.testing.assert_allclose(out, expected, atol=1e-5)


def product_of_integers(rows: int) -> tuple[Any, Any]:
    """A product of int8, and what it is in float64."""
    multiply, random, lines = MULTIPLY[rows], np.random.default_rng(rows), 3
    weights = random.integers(-128, 128, 7 + lines * LINE * BLOCK).astype(np.int8)
    values = random.integers(-127, 128, (2 + rows, (1 + lines) * LINE)).astype(np.int8)
    values[2, LINE:], weights[7 : 7 + LINE * BLOCK] = -127, -128  # as far from 0 as they go
    scales = random.random((2 + rows, 1 + lines)).astype(np.float32)
    sums = values.reshape(2 + rows, 1 + lines, LINE).sum(2, dtype=np.int32)
    out = np.zeros((1 + rows, 5 + BLOCK + 3), np.float32)

    @njit
    def run(weights: Any, x: Any, out: Any) -> None:
        multiply(weights, 7, x, 2, LINE, lines * LINE, out, 1, 5)

    run(weights, Rows(values, scales, sums), out)
    quads = weights[7:].astype(np.float64).reshape(lines * LINE // 4, BLOCK, 4)
    x = values[2:, LINE:] * np.repeat(scales[2:, 1:].astype(np.float64), LINE, axis=1)
    return out, x @ quads.transpose(0, 2, 1).reshape(-1, BLOCK)


@pytest.mark.parametrize("rows", MULTIPLY)
def test_products_of_integers_are_exact_within_a_line(rows: int) -> None:
    out, expected = product_of_integers(rows)
    np.testing.assert_allclose(out[1:, 5:-3], expected, rtol=1e-6, atol=1e-2)  # of numbers up to 3e6
    assert not out[0].any()
    assert not out[:, :5].any()
    assert not out[:, -3:].any()


@pytest.mark.parametrize("products", SLOWER)
@pytest.mark.parametrize("rows", [1, 4])
def test_other_processors_give_the_same_bits(rows: int, products: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = product_of_integers(rows)[0]
    monkeypatch.setattr(simd, "PRODUCTS", products)
    assert (product_of_integers(rows)[0] == expected).all()


@njit
def _put_line(x: Any, at: int, out: Any, out_at: int) -> Any:
    return put_line(x, at, out, out_at)


def test_a_line_is_rounded_to_integers() -> None:
    x = np.random.default_rng(0).normal(size=3 + LINE).astype(np.float32)
    out = np.zeros(5 + LINE + 1, np.int8)
    scale, total = _put_line(x, 3, out, 5)
    assert scale == pytest.approx(np.abs(x[3:]).max() / 127)
    assert np.abs(out[5:-1]).max() == 127
    assert np.abs(out[5:-1] * scale - x[3:]).max() <= scale / 2 * 1.00001
    assert total == out.sum()
    assert not out[:5].any()
    assert not out[-1]


def test_floats_stay_what_they_are() -> None:
    x, out = np.random.default_rng(0).normal(size=LINE).astype(np.float32), np.zeros(LINE, np.float32)
    assert _put_line(x, 0, out, 0)[0] == 1
    assert (x == out).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_the_scale_of_what_is_no_number_is_none(wrong: float) -> None:
    """Integers cannot say it."""
    x, out = np.ones(LINE, np.float32), np.zeros(LINE, np.int8)
    x[40] = wrong
    assert np.isnan(_put_line(x, 0, out, 0)[0])


def test_a_line_of_nothing() -> None:
    out = np.ones(LINE, np.int8)
    scale, total = _put_line(np.zeros(LINE, np.float32), 0, out, 0)
    assert np.isfinite(scale)
    assert total == 0
    assert not out.any()


@njit
def _exp_and_sum(x: Any, at: int, count: int, scale: float) -> Any:
    return exp_and_sum(x, at, count, np.float32(scale))


@pytest.mark.parametrize("scale", [1, 0.125])
def test_exponentials_and_their_sum(scale: float) -> None:
    values = np.linspace(-86.99 / scale, 3, 160_000, dtype=np.float32)
    found = values.copy()
    total = _exp_and_sum(found, 0, len(found), scale)
    exponents = ((values - np.float32(3)) * np.float32(scale)).astype(np.float64)
    within = exponents > -87
    assert np.abs(found / np.exp(exponents) - 1)[within].max() < 2e-7
    assert total == pytest.approx(np.exp(exponents).sum(), rel=1e-5)


def test_exponentials_at_the_ends() -> None:
    x = np.full(48, 5, np.float32)
    x[16:32] = [0, -0.0, -1e-30, -87, -87.01, -88, -104, -1e30, -np.inf, -1, -2, -3, -4, -5, -6, -7]
    total = _exp_and_sum(x, 16, 16, 1)
    assert x[16:20] == pytest.approx([1, 1, 1, math.exp(-87)], rel=1e-6)
    assert x[20:25].tolist() == [0] * 5
    assert (x[:16] == 5).all()
    assert (x[32:] == 5).all()
    assert total == pytest.approx(3 + sum(math.exp(-n) for n in range(1, 8)), rel=1e-6)


def test_the_exponential_of_no_number_is_none() -> None:
    """Or damaged weights would pass for attention to everything alike."""
    x = np.zeros(16, np.float32)
    x[3] = np.nan
    assert np.isnan(_exp_and_sum(x, 0, 16, 1))
    assert np.isnan(x).tolist() == [n == 3 for n in range(16)]


def test_logistic_function() -> None:
    x = np.concatenate([np.linspace(-100, 100, 32_000 - 2), [-np.inf, np.inf]]).astype(np.float32)
    x = np.concatenate([[5], x, [np.nan] * 16, [5]]).astype(np.float32)
    expected = 1 / (1 + np.exp(-x.astype(np.float64)))

    @njit
    def run(x: Any) -> None:
        logistic(x, 1, len(x) - 2)

    run(x)
    assert x[0] == x[-1] == 5
    assert np.isnan(x[-17:-1]).all()
    np.testing.assert_allclose(x[1:-17], expected[1:-17], rtol=5e-7, atol=2e-38)


def test_normal_distribution() -> None:
    x = np.concatenate([[5], np.linspace(-14, 14, 32_000 - 2), [-np.inf, np.inf], [np.nan] * 16, [5]]).astype(
        np.float32
    )
    expected = np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in x.tolist()])

    @njit
    def run(x: Any) -> None:
        normal_distribution(x, 1, len(x) - 2)

    run(x)
    assert x[0] == x[-1] == 5
    assert np.isnan(x[-17:-1]).all()
    np.testing.assert_allclose(x[1:-17], expected[1:-17], rtol=0, atol=3e-7)
    assert (x[1 : 32_000 // 4] < 1e-10).all(), "far below, nothing cancels"


# -- the whole step


def read(
    network: PackedTransformer, texts: Sequence[Sequence[int]], steps: Callable[[int], Sequence[Sequence[int]]]
) -> Tensor:
    """The logits after every token; ``steps(place)`` says which texts are decoded together. -> [B, T, V]"""
    config, cache = network.config, cache_for(network.config)
    found = torch.zeros(len(texts), len(texts[0]), config.vocabulary_size)
    for place in range(len(texts[0])):
        for rows in steps(place):
            tokens = [texts[row][place] for row in rows]
            pages = [pages_of(config, row) for row in rows]
            found[list(rows), place] = network.decode(tokens, [place] * len(rows), pages, cache.pages, range(len(rows)))
    return found


def alone(rows: int) -> Callable[[int], Sequence[Sequence[int]]]:
    return lambda place: [[row] for row in range(rows)]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", [*CONFIGS, *ODD])
@torch.no_grad()
def test_the_logits_are_the_models(name: str, workers: int) -> None:
    model = make((CONFIGS | ODD)[name])
    texts = numbers(2, min(model.config.context_length, 20), model.config.vocabulary_size)
    found = read(packed(model, workers=workers), texts, alone(2))
    torch.testing.assert_close(found, model(torch.tensor(texts)), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
@torch.no_grad()
def test_every_option_is_computed(preset: str) -> None:
    """All changes of a preset at once, two by two; a network that ignored one would give other logits."""
    for bias, tied, window, width in product([False, True], [False, True], [None, 3], [8, 20]):
        config = PRESETS[preset](
            29, 12, layers=2, width=width, heads=4, kv_heads=2, hidden=17, head_width=6, window=window,
            query_bias=bias, output_bias=bias, mlp_bias=not bias, tied_embeddings=tied, norm_epsilon=0.1,
        )  # fmt: skip
        model = make(config)
        texts = numbers(1, 12, 29)
        found = read(packed(model), texts, alone(1))
        torch.testing.assert_close(found, model(torch.tensor(texts)), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("quantise", [False, True])
@pytest.mark.parametrize("name", ["llama", "gpt1", "odd in all", "wider than a line"])
def test_a_row_is_the_same_in_every_bit_whatever_stands_beside_it(name: str, quantise: bool, workers: int) -> None:
    model = make((CONFIGS | ODD)[name])
    network = packed(model, quantise=quantise, workers=workers)
    texts = numbers(16, 6, model.config.vocabulary_size)
    random = torch.Generator().manual_seed(0)

    def in_parts_of(size: int) -> Callable[[int], Sequence[Sequence[int]]]:
        def steps(place: int) -> Sequence[Sequence[int]]:
            return [part.tolist() for part in torch.randperm(16, generator=random).split(size)]

        return steps

    expected = read(packed(model, quantise=quantise), texts, alone(16))
    for size in (1, 2, 3, 7, 16):
        assert torch.equal(read(network, texts, in_parts_of(size)), expected)


@pytest.mark.parametrize("workers", [1, 2])
def test_consecutive_tokens_in_one_step_are_the_same_as_one_by_one(workers: int) -> None:
    model = make(llama(61, 300, layers=2, width=32, heads=4, kv_heads=2))
    network = packed(model, quantise=True, workers=workers)
    text, cache, pages = numbers(1, 300, 61)[0], cache_for(model.config), pages_of(model.config, 0)
    expected = read(network, [text], alone(1))[0]
    found, place = [], 0
    for size in [1, 2, 3, 4, 5, 6, 16, 90, 1, 1, 3, 120, 4, 4, 4, 36]:
        places = range(place, place + size)
        rows = network.decode(text[place : place + size], places, [pages] * size, cache.pages, range(size))
        found.append(rows.clone())
        place += size
    assert place == 300
    assert torch.equal(torch.cat(found), expected)


def test_only_the_wanted_rows_have_logits() -> None:
    model = make(CONFIGS["qwen2"])
    network, cache = packed(model, workers=2), cache_for(model.config)
    tokens, pages = numbers(1, 7, 61)[0], [pages_of(model.config, row) for row in range(7)]
    every = network.decode(tokens, [0] * 7, pages, cache.pages, range(7)).clone()
    some = network.decode(tokens, [0] * 7, pages, cache.pages, [1, 2, 5])
    assert torch.equal(some, every[[1, 2, 5]])
    assert network.decode(tokens, [0] * 7, pages, cache.pages, []).shape == (0, 61)


@torch.no_grad()
def test_what_stands_in_unused_memory_does_not_matter() -> None:
    """Pages that other texts have left, and lines after the last token, may hold anything."""
    model = make(replace(CONFIGS["qwen2 with a window"], window=None))
    config: TransformerConfig = model.config
    network, cache = packed(model, workers=2), cache_for(model.config)
    cache.pages[:] = torch.nan
    [text], pages = numbers(1, 20, 61), pages_of(config, 3)
    rows = [network.decode([token], [n], [pages], cache.pages, [0])[0].clone() for n, token in enumerate(text)]
    torch.testing.assert_close(torch.stack(rows), model(torch.tensor([text]))[0], atol=1e-4, rtol=1e-5)


def test_no_number_in_one_row_stays_there() -> None:
    model = make(CONFIGS["mistral"])
    with torch.no_grad():
        model.embedding.weight[5] = torch.nan  # which is not the head's here
    network, cache = packed(model, workers=2), cache_for(model.config)
    pages = [pages_of(model.config, row) for row in range(3)]
    for place in range(3):
        logits = network.decode([1, 5, 2], [place] * 3, pages, cache.pages, range(3))
        assert logits.isnan().any(1).tolist() == [False, True, False]
        assert logits[1].isnan().all()


def test_a_change_of_the_instructions_compiles_the_kernel_anew() -> None:
    """What is kept of it on the disk goes by the content of kernel.py alone, which therefore names that of simd.py."""
    sources = {name: Path(kernel.__file__).with_name(name).read_bytes() for name in ("simd.py", "kernel.py")}
    assert hashlib.sha256(sources["simd.py"]).hexdigest()[:16].encode() in sources["kernel.py"]
