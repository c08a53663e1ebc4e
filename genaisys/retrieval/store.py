"""The store: one SQLite file that is the truth about a collection. All search structures are rebuilt from it.

Every change of a document is one transaction, so a crash, a full disk or a second writer at any moment leaves each
document as it was or as it shall be, and readers go on reading meanwhile (write-ahead log).
"""

import json
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt

from genaisys.errors import GenaisysError
from genaisys.retrieval.documents import Block, Chunk, Document
from genaisys.retrieval.ranking import Candidates

DATABASE = "index.db"
SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0
BLOCK = 10_000  # chunks that are read at a time

# Chunk ids are never given twice (AUTOINCREMENT), so "what is new" is "what has a higher id"; what has gone is kept in
# `deleted`, in order. So a reader catches up at the cost of the changes, not of the collection.
# The long columns stand last: SQLite then reads the short ones without walking through the long.
_SCHEMA = """
CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL UNIQUE, path TEXT UNIQUE, size INTEGER, modified INTEGER,
    content_hash TEXT NOT NULL, chunker TEXT NOT NULL, title TEXT NOT NULL, media_type TEXT NOT NULL,
    metadata TEXT NOT NULL, blocks TEXT NOT NULL, text TEXT NOT NULL
);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    ordinal INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, page INTEGER,
    context TEXT NOT NULL, sentences TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX chunks_of_document ON chunks (document);
CREATE TABLE features (
    chunk INTEGER PRIMARY KEY REFERENCES chunks ON DELETE CASCADE,
    vector BLOB NOT NULL, terms BLOB NOT NULL, term_counts BLOB NOT NULL, sentence_vectors BLOB NOT NULL
);
CREATE TABLE deleted (sequence INTEGER PRIMARY KEY, chunk INTEGER NOT NULL);
CREATE TRIGGER remember_deleted AFTER DELETE ON chunks BEGIN INSERT INTO deleted (chunk) VALUES (old.id); END;
"""


class StoreError(GenaisysError):
    """The store is damaged, busy, full, or of another make; the message says what to do."""


@dataclass(frozen=True)
class Features:
    """What search knows of one chunk with S sentences (a chunk without sentence spans counts as one sentence)."""

    vector: npt.NDArray[np.float16]  # [D], the passage
    sentence_vectors: npt.NDArray[np.float16]  # [S, D]
    terms: npt.NDArray[np.uint32]  # [T]: those of the context, then of each sentence, in order
    term_counts: npt.NDArray[np.int32]  # [S + 1]: terms in the context, then in each sentence


@dataclass(frozen=True)
class File:
    """Where a document was read from, and what tells quickly that it has not changed since."""

    path: str  # absolute
    size: int
    modified: int  # nanoseconds


@dataclass(frozen=True)
class Entry:
    """A document of the collection without its text."""

    source: str
    title: str
    media_type: str
    content_hash: str
    metadata: Mapping[str, str]
    chunker: str  # version of the chunker that cut it
    chunks: int
    file: File | None


class Store:
    """Documents, their chunks, and the chunks' features, in ``folder/index.db``. Safe to share between threads."""

    def __init__(self, folder: Path, encoder: str) -> None:
        """Open the store in ``folder``; where there is none, make one for vectors of the encoder named ``encoder``.

        Raises:
            StoreError: the file is damaged, no store of ours, or made by a newer version of this software.
        """
        self.folder = folder
        self.path = folder / DATABASE
        self._read_lock, self._write_lock = RLock(), RLock()
        with self._plain_errors():
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
            self._prepare(encoder)
            self._reader = self._connect()  # of its own, so that searches never wait for a writer
        self.encoder, self.id = self._manifest["encoder"], self._manifest["id"]

    def close(self) -> None:
        with self._read_lock, self._write_lock:
            self._reader.close()
            self._writer.close()

    # ---- writing

    def replace(
        self, document: Document, chunks: Sequence[Chunk], features: Sequence[Features], chunker: str, file: File | None
    ) -> None:
        """Put ``document`` in place of the one with its source, if there is one. All of it is stored, or nothing.

        Raises:
            StoreError: the disk is full, or another process keeps the store busy. The store is as it was.
        """
        blocks = [[b.kind, b.start, b.end, b.level, b.page, b.header] for b in document.blocks]
        with self.writing() as db:
            for feature in features[:1]:
                self._check_dimension(db, len(feature.vector))
            db.execute("DELETE FROM documents WHERE source = ? OR path = ?", (document.source, file and file.path))
            row = _insert(
                db,
                "documents",
                source=document.source,
                path=file and file.path,
                size=file and file.size,
                modified=file and file.modified,
                content_hash=document.content_hash,
                chunker=chunker,
                title=_storable(document.title),
                media_type=document.media_type,
                metadata=json.dumps(dict(document.metadata)),
                blocks=json.dumps(blocks),
                text=_storable(document.text),
            )
            for chunk, feature in zip(chunks, features, strict=True):
                chunk_id = _insert(
                    db,
                    "chunks",
                    document=row,
                    ordinal=chunk.ordinal,
                    start=chunk.start,
                    end=chunk.end,
                    page=chunk.page,
                    context=_storable(chunk.context),
                    sentences=json.dumps(chunk.sentences),
                    text=_storable(chunk.text),
                )
                _insert(
                    db,
                    "features",
                    chunk=chunk_id,
                    vector=feature.vector.tobytes(),
                    terms=feature.terms.tobytes(),
                    term_counts=feature.term_counts.tobytes(),
                    sentence_vectors=feature.sentence_vectors.tobytes(),
                )

    def delete(self, source: str) -> bool:
        """Remove a document. -> whether it was there"""
        with self.writing() as db:
            return db.execute("DELETE FROM documents WHERE source = ?", (source,)).rowcount > 0

    def set_file(self, source: str, file: File) -> None:
        """Note that the document ``source``, unchanged, is now the content of ``file``."""
        with self.writing() as db:
            db.execute("DELETE FROM documents WHERE path = ? AND source <> ?", (file.path, source))
            db.execute(
                "UPDATE documents SET path = ?, size = ?, modified = ? WHERE source = ?",
                (file.path, file.size, file.modified, source),
            )

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One write transaction: committed at the end, undone by any exception."""
        with self._write_lock, self._plain_errors():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    def flush(self) -> None:
        """See to it that not even a power cut can undo what has been written until now."""
        with self._write_lock, self._plain_errors():
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")

    # ---- reading

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the store; it may be entered again within itself."""
        with self._read_lock, self._plain_errors():
            if self._reader.in_transaction:
                yield self._reader
                return
            self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                self._reader.execute("ROLLBACK")  # there is nothing to commit

    def version(self) -> int:
        """A number that changes whenever anyone, in any process, has changed the store."""
        with self._read_lock, self._plain_errors():
            return self._reader.execute("PRAGMA data_version").fetchone()[0]

    @property
    def dimension(self) -> int | None:
        """The length of the vectors; None while there are none."""
        with self.reading() as db:
            row = db.execute("SELECT value FROM manifest WHERE key = 'dimension'").fetchone()
        return int(row[0]) if row else None

    def documents(self) -> list[Entry]:
        """All documents, by source."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT source, title, media_type, content_hash, metadata, chunker,"
                " (SELECT count(*) FROM chunks WHERE document = documents.id), path, size, modified"
                " FROM documents ORDER BY source"
            ).fetchall()
        return [
            Entry(source, title, kind, digest, json.loads(metadata), chunker, chunks, File(*file) if file[0] else None)
            for source, title, kind, digest, metadata, chunker, chunks, *file in rows
        ]

    def document(self, source: str) -> Document | None:
        """The document with this source, if there is one."""
        with self.reading() as db:
            row = db.execute(
                "SELECT source, title, text, blocks, media_type, content_hash, metadata FROM documents"
                " WHERE source = ?",
                (source,),
            ).fetchone()
        if row is None:
            return None
        source, title, text, blocks, media_type, content_hash, metadata = row
        blocks = tuple(Block(*block) for block in json.loads(blocks))
        return Document(source, title, text, blocks, media_type, content_hash, json.loads(metadata))

    def chunks(self, ids: Sequence[int]) -> dict[int, Chunk]:
        """The chunks with these ids; those that have gone are missing."""
        with self.reading() as db:
            rows = db.execute(
                'SELECT chunks.id, source, ordinal, chunks.text, start, "end", page, context, sentences'
                " FROM chunks JOIN documents ON documents.id = document"
                " WHERE chunks.id IN (SELECT value FROM json_each(?))",
                (json.dumps(ids),),
            ).fetchall()
        return {
            row: Chunk(source, ordinal, text, start, end, page, context, tuple(map(tuple, json.loads(sentences))))
            for row, source, ordinal, text, start, end, page, context, sentences in rows
        }

    def candidates(self, ids: Sequence[int]) -> tuple[npt.NDArray[np.int64], Candidates]:
        """The chunks with these ids, for ranking; those that have gone are missing. -> their ids [C], and they"""
        with self.reading() as db:
            rows = db.execute(
                "SELECT chunk, sentence_vectors, terms, term_counts FROM features"
                " WHERE chunk IN (SELECT value FROM json_each(?))",
                (json.dumps(ids),),
            ).fetchall()
        found, vectors, terms, term_counts = zip(*rows, strict=True) if rows else ((), (), (), ())
        bytes_of_a_vector = np.float16().nbytes * (self.dimension or 1)
        return np.array(found, np.int64), Candidates(
            np.frombuffer(b"".join(vectors), np.float16).reshape(-1, self.dimension or 1),
            np.array([len(blob) // bytes_of_a_vector for blob in vectors], np.int32),
            np.frombuffer(b"".join(terms), np.uint32),
            np.frombuffer(b"".join(term_counts), np.int32),
        )

    def chunk_count(self) -> int:
        with self.reading() as db:
            return db.execute("SELECT count(*) FROM chunks").fetchone()[0]

    def passages(
        self, after: int = 0, size: int = 10_000
    ) -> Iterator[tuple[npt.NDArray, npt.NDArray, list[npt.NDArray]]]:
        """All chunks with ids above ``after``, in blocks of at most ``size``, in order of their ids.

        Yields:
            ids int64 [N], passage vectors float16 [N, D], and the terms uint32 [T] of each passage.
        """
        with self.reading() as db:
            rows = db.execute("SELECT chunk, vector, terms FROM features WHERE chunk > ? ORDER BY chunk", (after,))
            while block := rows.fetchmany(BLOCK):
                ids = np.fromiter((row[0] for row in block), np.int64, len(block))
                vectors = np.frombuffer(b"".join(row[1] for row in block), np.float16).reshape(len(block), -1)
                yield ids, vectors, [np.frombuffer(row[2], np.uint32) for row in block]

    def some_vectors(self, count: int) -> npt.NDArray[np.float16]:
        """About ``count`` passage vectors, spread evenly over the store. -> [about count, D]"""
        with self.reading() as db:
            step = max(1, self.chunk_count() // count)
            rows = db.execute("SELECT vector FROM features WHERE chunk % ? = 0", (step,)).fetchall()
        return np.frombuffer(b"".join(row[0] for row in rows), np.float16).reshape(len(rows), -1)

    def deleted(self, after: int = 0) -> tuple[npt.NDArray[np.int64], int]:
        """The ids of chunks that went after event ``after``, and the number of the last event. -> [N], number"""
        with self.reading() as db:
            rows = db.execute("SELECT sequence, chunk FROM deleted WHERE sequence > ?", (after,)).fetchall()
        return np.array([chunk for _, chunk in rows], np.int64), rows[-1][0] if rows else after

    def last_chunk(self) -> int:
        """The highest chunk id ever given."""
        with self.reading() as db:
            row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'").fetchone()
            return row[0] if row else 0

    def last_deleted(self) -> int:
        """The number of the last deletion."""
        with self.reading() as db:
            return db.execute("SELECT max(sequence) FROM deleted").fetchone()[0] or 0

    def matching(self, where: Mapping[str, str]) -> npt.NDArray[np.int64]:
        """The ids of the chunks whose documents pass a filter, ascending. -> [N]

        Args:
            where: ``source`` is a pattern, in which ``*`` stands for any characters, also ``/``; ``media_type`` and all
                other keys, which name metadata, are equalities. All must hold.
        """
        conditions, values = ["TRUE"], []
        for key, value in where.items():
            if key == "source":
                conditions.append("(source = ? OR source GLOB ?)")
                values += [value, value]
            elif key == "media_type":
                conditions.append("media_type = ?")
                values.append(value)
            else:
                conditions.append("EXISTS (SELECT 1 FROM json_each(metadata) WHERE key = ? AND value = ?)")
                values += [key, value]
        with self.reading() as db:
            rows = db.execute(
                "SELECT chunks.id FROM documents JOIN chunks ON document = documents.id WHERE "  # noqa: S608, all bound
                + " AND ".join(conditions),
                values,
            ).fetchall()
        return np.sort(np.array([row[0] for row in rows], np.int64))

    # ---- opening

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA foreign_keys = ON")
        db.execute(
            "PRAGMA synchronous = NORMAL"
        )  # with a write-ahead log: power loss may undo the last commits, no more
        db.execute("PRAGMA mmap_size = 4294967296")
        return db

    def _prepare(self, encoder: str) -> None:
        """Make the tables if the database is new, and check that the manifest is one that we understand."""
        # Switching to the write-ahead log does not wait for locks, and two processes may be making the store at once.
        deadline = time.monotonic() + BUSY_SECONDS
        while self._writer.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                self._writer.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        if not self._tables():
            with self.writing() as db:
                if not self._tables():
                    for statement in _statements(_SCHEMA):
                        db.execute(statement)
                    manifest = {"schema": str(SCHEMA_VERSION), "encoder": encoder, "id": uuid.uuid4().hex}
                    db.executemany("INSERT INTO manifest VALUES (?, ?)", manifest.items())
        if "manifest" not in self._tables():
            raise StoreError(f"{self.path} is a database, but not an index of genaisys; choose another folder")
        self._manifest = dict(self._writer.execute("SELECT key, value FROM manifest"))
        if int(self._manifest["schema"]) > SCHEMA_VERSION:
            raise StoreError(f"{self.path} was made by a newer version of genaisys; update genaisys to open it")

    def _check_dimension(self, db: sqlite3.Connection, dimension: int) -> None:
        db.execute("INSERT OR IGNORE INTO manifest VALUES ('dimension', ?)", (str(dimension),))
        (stored,) = db.execute("SELECT value FROM manifest WHERE key = 'dimension'").fetchone()
        if int(stored) != dimension:
            raise StoreError(
                f"the encoder gives vectors of {dimension} numbers, but {self.path} holds vectors of {stored};"
                " index into a new store"
            )

    def _tables(self) -> set[str]:
        return {row[0] for row in self._writer.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(self._explain(error)) from error
        except OSError as error:
            raise StoreError(f"cannot use {self.folder}: {error.strerror or error}") from error

    def _explain(self, error: sqlite3.Error) -> str:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
        match code:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return f"another process has kept {self.path} busy for {BUSY_SECONDS:.0f} s; try again when it is done"
            case sqlite3.SQLITE_FULL:
                return f"no space left for {self.path}; what was indexed before is safe: free some space and run again"
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return f"{self.path} is damaged ({error}); delete {self.folder} and index your documents again"
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_IOERR:
                return f"cannot read or write {self.path} ({error}); check the folder's permissions and the disk"
        return f"{self.path} failed: {error}; if this happens again, delete {self.folder} and index again"


def _insert(db: sqlite3.Connection, table: str, **values: Any) -> int:
    """Insert one row. -> its id"""
    columns, marks = ", ".join(f'"{name}"' for name in values), ", ".join("?" * len(values))
    row = db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(values.values())).lastrowid  # noqa: S608
    assert row is not None
    return row


def _storable(text: str) -> str:
    """``text`` with each lone surrogate, which UTF-8 cannot hold, replaced: same length, so spans stay right."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _statements(script: str) -> Iterator[str]:
    """The statements of an SQL script. (``executescript`` would commit the open transaction.)"""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
