"""How few bytes the 447 test digits take: the shipped models against PNG, WebP, zstd and xz on the same pixels.

    python benchmarks/lossless_digits.py [MODEL ...]

Models are shipped ones by name, or folders of trained ones; none means all shipped ones that are lossless. The others
are given all digits at once, which suits them best: one below the other or side by side, a byte a pixel, with values 0
to 16 or 0 to 240, whatever takes the fewest bytes. Our bytes are what `genaisys zoo compress` writes, and are checked
to decompress to the same digits.
"""

import argparse
import io
import lzma
import math
import time

import numpy as np
import torch
import zstandard
from PIL import Image

from genaisys.models.base import Density, Lossless
from genaisys.zoo.data import digits
from genaisys.zoo.evaluation import mean_nats
from genaisys.zoo.runs import open_run, shipped_results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*")
    names = parser.parse_args().models or [result["name"] for result in shipped_results("digits")]
    torch.set_num_threads(1)
    x = digits().test
    pixels = x[:, 0].numpy().astype(np.uint8)  # [447, 8, 8]
    print(f"{len(x)} digits, {pixels.size:,} pixels\n")
    print("| | bytes | bytes an image | bits a pixel | over -log2 p | seconds, both ways |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in names:
        model = open_run(name)[0]
        if not isinstance(model, Lossless):
            continue
        began = time.process_time()
        data = model.compress(x)
        assert torch.equal(model.decompress(data), x)
        spent = time.process_time() - began
        assert isinstance(model, Density)
        ideal = mean_nats(model, x) * len(x) / math.log(2) / 8
        row(f"**{name}**", len(data), pixels, f"{len(data) / ideal - 1:.2%}", f"{spent:.1f}")
    for name, size in others(pixels).items():
        row(name, size, pixels, "", "")


def row(name: str, size: int, pixels: np.ndarray, over: str, seconds: str) -> None:
    bits = 8 * size / pixels.size
    print(f"| {name} | {size:,} | {size / len(pixels):.2f} | {bits:.3f} | {over} | {seconds} |", flush=True)


def others(pixels: np.ndarray) -> dict[str, int]:
    """Bytes that each needs, the best of what it can be given."""
    best: dict[str, int] = {}
    for values in (pixels.reshape(-1, 8), pixels.transpose(1, 0, 2).reshape(8, -1), 15 * pixels.reshape(-1, 8)):
        raw, image = values.tobytes(), Image.fromarray(values)
        sizes = {
            "PNG, optimised": written(image, "PNG", optimize=True),
            "WebP, lossless, slowest": written(image.convert("RGB"), "WEBP", lossless=True, quality=100, method=6),
            "zstd -19": len(zstandard.ZstdCompressor(level=19).compress(raw)),
            "xz -9e": len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME)),
        }
        best = {name: min(size, best.get(name, size)) for name, size in sizes.items()}
    return best


def written(image: Image.Image, kind: str, **settings: object) -> int:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.tell()


if __name__ == "__main__":
    main()
