"""How fast a folder of web pages becomes searchable, against llama-index and haystack with the same encoder.

    python benchmarks/ingestion_speed.py FOLDER [--every 5]

FOLDER is that of a documentation, such as /usr/share/doc/python3.11/html of Debian's python3.11-doc; every 5th page is
taken. Each system runs in a process of its own: files -> text -> passages of at most 256 tokens, which is what the
encoder (all-MiniLM-L6-v2) reads -> vectors -> its store. Times start when the encoder is loaded. Ours ends with
everything on disk, and with a vector for each sentence besides; the peers keep theirs in memory. Then: the memory that
ours takes for the same pages once and four times, and a second look at 1,000 files in which nothing changed.
Needs the extra ``bench``.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

from genaisys import hub

ENCODER = "minilm-l6"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=5, help="take one page of so many")
    parser.add_argument("--run", choices=RUNS, help="one run alone, in this process")
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(RUNS[arguments.run](arguments.folder)))
        return
    pages = sorted(arguments.folder.rglob("*.html"))[:: arguments.every]
    with tempfile.TemporaryDirectory() as temporary:
        once = copy(pages, Path(temporary) / "once", 1)
        four_times = copy(pages, Path(temporary) / "four", 4)
        print(f"{len(pages)} pages, {sum(page.stat().st_size for page in pages) / 1e6:.1f} MB of HTML\n")
        print("| system | seconds | of processors | passages | passages a second | ours is faster, a passage |")
        print("| --- | --- | --- | --- | --- | --- |")
        results = {name: alone(name, once) for name in ("genaisys", "llama-index", "haystack")}
        ours = results["genaisys"]
        for name, run in results.items():
            faster = (run["seconds"] / run["passages"]) / (ours["seconds"] / ours["passages"])
            numbers = f"{run['seconds']:.1f} | {run['processor_seconds']:.1f} | {run['passages']:.0f}"
            print(f"| {name} | {numbers} | {run['passages'] / run['seconds']:.1f} | {faster:.2f} |")
        more = alone("genaisys", four_times)
        small, large = ours["peak_mb"], more["peak_mb"]
        print(f"\nPeak memory of genaisys: {small:.0f} MB for these pages, {large:.0f} MB for four times as many.")
        again = alone("unchanged", Path(temporary))
        print(f"A re-index of 1,000 unchanged files: {again['seconds']:.2f} s, the start of Python included.")


def copy(pages: list[Path], folder: Path, times: int) -> Path:
    for number in range(times):
        for place, page in enumerate(pages):
            target = folder / str(number) / f"{place}-{page.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(page, target)
    return folder


def alone(name: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, str(folder), "--run", name]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return json.loads(output.splitlines()[-1])


def result(began: tuple[float, float], passages: int) -> dict[str, float]:
    seconds, work = (now - then for now, then in zip(clocks(), began, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "processor_seconds": work, "passages": passages, "peak_mb": peak}


def clocks() -> tuple[float, float]:
    """Seconds by the wall, and of processors: the latter with the child processes that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in (own, children))


def genaisys(folder: Path) -> dict[str, float]:
    from genaisys.retrieval.index import Index
    from genaisys.retrieval.ingestion import ingest

    with tempfile.TemporaryDirectory() as store, Index.open(store, ENCODER) as index:
        index.encode_query("warm up")
        began = clocks()
        passages = sum(outcome.chunks for outcome in ingest([folder], index))
        return result(began, passages)


def llama_index(folder: Path) -> dict[str, float]:
    from bs4 import BeautifulSoup
    from llama_index.core import Document, SimpleDirectoryReader
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.core.readers.base import BaseReader
    from llama_index.core.vector_stores import SimpleVectorStore
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    class PageReader(BaseReader):
        """What its HTML reader does, in few words and with a faster parser."""

        def load_data(self, file: Path, extra_info: dict | None = None, **_: object) -> list[Document]:
            text = BeautifulSoup(file.read_bytes(), "lxml").get_text(" ", strip=True)
            return [Document(text=text, metadata=extra_info or {})]

    encoder = HuggingFaceEmbedding(str(hub.local_path(ENCODER)), embed_batch_size=32, device="cpu")
    encoder.get_text_embedding("warm up")
    # Its lengths are in tokens of another tokenizer, and the path and dates of a file are encoded with each passage.
    splitter = SentenceSplitter(chunk_size=256, chunk_overlap=20, include_metadata=False)
    pipeline = IngestionPipeline(transformations=[splitter, encoder], vector_store=SimpleVectorStore())
    began = clocks()
    reader = SimpleDirectoryReader(
        folder,
        recursive=True,
        required_exts=[".html"],
        file_extractor={".html": PageReader()},
        file_metadata=lambda _: {},
    )
    nodes = pipeline.run(documents=reader.load_data())
    return result(began, len(nodes))


def haystack(folder: Path) -> dict[str, float]:
    from haystack import Pipeline
    from haystack.components.converters import HTMLToDocument
    from haystack.components.preprocessors import DocumentSplitter
    from haystack.components.writers import DocumentWriter
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from haystack.utils import ComponentDevice
    from haystack_integrations.components.embedders.sentence_transformers import SentenceTransformersDocumentEmbedder

    store = InMemoryDocumentStore()
    embedder = SentenceTransformersDocumentEmbedder(
        model=str(hub.local_path(ENCODER)), device=ComponentDevice.from_str("cpu"), progress_bar=False
    )
    embedder.warm_up()
    pipeline = Pipeline()
    pipeline.add_component("convert", HTMLToDocument())
    pipeline.add_component("split", DocumentSplitter(split_by="word", split_length=150, split_overlap=15))
    pipeline.add_component("embed", embedder)
    pipeline.add_component("write", DocumentWriter(store))
    for one, next_one in (("convert", "split"), ("split", "embed"), ("embed", "write")):
        pipeline.connect(one, next_one)
    began = clocks()
    pipeline.run({"convert": {"sources": sorted(folder.rglob("*.html"))}})
    return result(began, store.count_documents())


def unchanged(folder: Path) -> dict[str, float]:
    """Index 1,000 small files, then look again with the command that a user would type."""
    files, store = folder / "thousand", folder / "store"
    files.mkdir()
    for number in range(1000):
        (files / f"{number}.txt").write_text(f"Note number {number}.")
    command = [sys.executable, "-m", "genaisys", "index", str(files), "--store", str(store)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    began = clocks()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return result(began, 0)


RUNS: dict[str, Callable[[Path], dict[str, float]]] = {
    "genaisys": genaisys,
    "llama-index": llama_index,
    "haystack": haystack,
    "unchanged": unchanged,
}

if __name__ == "__main__":
    main()
