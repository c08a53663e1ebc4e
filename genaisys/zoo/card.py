"""The card of a trained model: what it is, what it has learned from, how to make it again, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import Any

from genaisys.version import __version__
from genaisys.zoo.entries import Entry

_DATA = {
    "digits": "scikit-learn's digits: the test part of UCI's optical recognition of handwritten digits, 8x8 pixels of "
    "0 to 16 (Alpaydin and Kaynak 1998; CC BY 4.0); 1,000 to learn from, 350 held out, 447 to test",
    "fashion-mnist": "Fashion-MNIST, 28x28 pixels of 0 to 255 (Xiao et al. 2017; MIT); 55,000 to learn from, 5,000 "
    "held out, 10,000 to test",
}


def card(entry: Entry, result: Mapping[str, Any]) -> str:
    """Markdown. ``result`` is that of the run: see :func:`genaisys.zoo.runs.train_run`."""
    name, data = result["name"], result["data"]
    rows = [
        (f"test NLL in nats, {result['likelihood']}", "test_nats", ".2f"),
        ("bits per dimension", "bits_per_dim", ".3f"),
        ("Fréchet distance of samples, on pixels", "fd", ".3f"),
        ("MMD² of samples", "mmd2", ".4f"),
        ("precision of samples", "precision", ".2f"),
        ("recall of samples", "recall", ".2f"),
        ("processor seconds of training", "seconds", ".0f"),
    ]
    measured = "\n".join(f"| {what} | {result[key]:{form}} |" for what, key, form in rows if result[key] is not None)
    file = data if data in _DATA else f"{data}.npy"
    on = "" if data == "digits" else f" --data {quote(file)}"
    source = f"Tomczak's book, section {entry.section}" if entry.section[0].isdigit() else entry.section
    return f"""# {name}

{entry.about[0].upper()}{entry.about[1:]} ({source}).
{result["parameters"]:,} weights, trained with genaisys {__version__}.

- **Data:** {_DATA.get(data, file)}.
- **Command:** `genaisys zoo train {name}{on} --seed {result["seed"]}`
- **Opens with:** `genaisys.models.load_model(folder)`

| measured on the test data | |
| --- | --- |
{measured}
"""
