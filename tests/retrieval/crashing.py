"""Runs ingestion in forks of itself and kills them. A program for ``test_crashes``; imports are paid for only once.

Usage: crashing.py STORE FOLDER, then a line per run on standard input: ``after SECONDS`` or ``at STATEMENT``, which
counts the SQL statements of the run. Each is answered with ``killed`` or ``finished``.
"""

import itertools
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path

import torch  # noqa: F401, mapping the cache file imports it: once, not in each fork
from hashed_words import HashedWords

from genaisys.retrieval import candidates, ingestion
from genaisys.retrieval.chunking import chunk_document
from genaisys.retrieval.documents import Chunk, Document
from genaisys.retrieval.index import Index
from genaisys.retrieval.readers import read_document
from genaisys.retrieval.store import Store


class ReaderInThisProcess:
    """Starting real readers would take most of each run, and so most kills."""

    def read(self, path: Path, source: str) -> tuple[Document, list[Chunk]]:
        document = read_document(path, source=source)
        return document, chunk_document(document)

    def close(self) -> None:
        pass


def die_at(statement: int) -> None:
    """Arrange for the end of this process when so many SQL statements have begun."""
    counter = itertools.count(1)
    connect = Store._connect

    def traced(store: Store) -> sqlite3.Connection:
        db = connect(store)
        db.set_trace_callback(lambda _: os.kill(os.getpid(), signal.SIGKILL) if next(counter) == statement else None)
        return db

    Store._connect = traced  # type: ignore[method-assign]


def ingest(store: str, folder: str) -> None:
    with Index.open(store, HashedWords()) as index:
        for _ in ingestion.ingest([folder], index):
            index.refresh()  # so that kills hit the writing of the cache file, too


if __name__ == "__main__":
    ingestion.ReaderProcess = ReaderInThisProcess  # type: ignore[assignment, misc]
    ingestion.ENCODED_TOGETHER = 4
    candidates.MANY_CHANGES = 3
    for line in sys.stdin:
        when, number = line.split()
        child = os.fork()
        if child == 0:
            if when == "at":
                die_at(int(number))
            ingest(sys.argv[1], sys.argv[2])
            os._exit(0)
        if when == "after":
            time.sleep(float(number))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else "finished", flush=True)
