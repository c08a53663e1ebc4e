"""Runs ingestion in forks of itself and kills them. A program for ``test_crashes``; imports are paid for only once.

Usage: crashing.py STORE FOLDER, then a number of seconds per line on standard input. Answers each with ``killed`` or
``finished``.
"""

import os
import signal
import sys
import time
from pathlib import Path

from hashed_words import HashedWords

from genaisys.retrieval import candidates, ingestion
from genaisys.retrieval.chunking import chunk_document
from genaisys.retrieval.documents import Chunk, Document
from genaisys.retrieval.index import Index
from genaisys.retrieval.readers import read_document


class ReaderInThisProcess:
    """Starting real readers would take most of each run, and so most kills."""

    def read(self, path: Path, source: str) -> tuple[Document, list[Chunk]]:
        document = read_document(path, source=source)
        return document, chunk_document(document)

    def close(self) -> None:
        pass


def ingest(store: str, folder: str) -> None:
    with Index.open(store, HashedWords()) as index:
        for _ in ingestion.ingest([folder], index):
            index.refresh()  # so that kills hit the writing of the cache file, too


if __name__ == "__main__":
    ingestion.ReaderProcess = ReaderInThisProcess  # type: ignore[assignment, misc]
    ingestion.ENCODED_TOGETHER = 4
    candidates.MANY_CHANGES = 3
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            ingest(sys.argv[1], sys.argv[2])
            os._exit(0)
        time.sleep(float(line))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else "finished", flush=True)
