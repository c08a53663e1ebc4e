"""The store: one SQLite file that is the truth about a collection. All search structures are rebuilt from it.

Every change of a document is one transaction, so a crash, a full disk or a second writer at any moment leaves each
document as it was or as it shall be, and readers go on reading meanwhile (write-ahead log).
"""

import json
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genaisys.retrieval.database import Database, StoreError
from genaisys.retrieval.documents import Block, Chunk, Document
from genaisys.retrieval.ranking import Candidates

DATABASE = "index.db"
SCHEMA = 1
BLOCK = 4_000  # chunks that are read at a time

# Chunk ids are never given twice (AUTOINCREMENT), so "what is new" is "what has a higher id"; what has gone is kept in
# `deleted`, in order. So a reader catches up at the cost of the changes, not of the collection.
# The long columns stand last: SQLite then reads the short ones without walking through the long.
_TABLES = """
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


class Store(Database):
    """Documents, their chunks, and the chunks' features, in ``folder/index.db``."""

    def __init__(self, folder: Path, encoder: str) -> None:
        """Open the store in ``folder``; where there is none, make one for vectors of the encoder named ``encoder``.

        Raises:
            StoreError: the file is damaged, no store of ours, or made by a newer version of this software.
        """
        super().__init__(folder / DATABASE, _TABLES, SCHEMA, {"encoder": encoder, "id": uuid.uuid4().hex})
        self.folder = folder
        self.encoder, self.id = self.manifest["encoder"], self.manifest["id"]

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

    def set_encoder(self, encoder: str) -> None:
        """Note that the vectors will be those of ``encoder``; only while there are none."""
        with self.writing() as db:
            db.execute("UPDATE manifest SET value = ? WHERE key = 'encoder'", (encoder,))
        self.encoder = encoder

    # ---- reading

    @property
    def dimension(self) -> int | None:
        """The length of the vectors; None while there are none."""
        with self.reading() as db:
            row = db.execute("SELECT value FROM manifest WHERE key = 'dimension'").fetchone()
        return int(row[0]) if row else None

    def documents(self) -> list[Entry]:
        """All documents, by source."""
        with self.decoding() as db:
            rows = db.execute(
                "SELECT source, title, media_type, content_hash, metadata, chunker,"
                " (SELECT count(*) FROM chunks WHERE document = documents.id), path, size, modified"
                " FROM documents ORDER BY source"
            ).fetchall()
            return [
                Entry(
                    source, title, kind, digest, json.loads(metadata), chunker, chunks, File(*file) if file[0] else None
                )
                for source, title, kind, digest, metadata, chunker, chunks, *file in rows
            ]

    def document(self, source: str) -> Document | None:
        """The document with this source, if there is one."""
        with self.decoding() as db:
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
        with self.decoding() as db:
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
        with self.decoding() as db:
            rows = db.execute(
                "SELECT chunk, sentence_vectors, terms, term_counts FROM features"
                " WHERE chunk IN (SELECT value FROM json_each(?))",
                (json.dumps(ids),),
            ).fetchall()
            found, vectors, terms, term_counts = zip(*rows, strict=True) if rows else ((), (), (), ())
            bytes_of_a_vector = np.float16().nbytes * (self.dimension or 1)
            candidates = Candidates(
                np.frombuffer(b"".join(vectors), np.float16).reshape(-1, self.dimension or 1),
                np.array([len(blob) // bytes_of_a_vector for blob in vectors], np.int32),
                np.frombuffer(b"".join(terms), np.uint32),
                np.frombuffer(b"".join(term_counts), np.int32),
            )
            counts = candidates.term_counts
            if len(counts) != candidates.sentence_counts.sum() + len(rows) or counts.sum() != len(candidates.terms):
                raise ValueError("features do not fit their passages")
            return np.array(found, np.int64), candidates

    def vectors(self, ids: Sequence[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]]:
        """The passage vectors of these chunks; those that have gone are missing. -> their ids [C], vectors [C, D]"""
        with self.decoding() as db:
            rows = db.execute(
                "SELECT chunk, vector FROM features WHERE chunk IN (SELECT value FROM json_each(?))", (json.dumps(ids),)
            ).fetchall()
            vectors = np.frombuffer(b"".join(row[1] for row in rows), np.float16)
            return np.array([row[0] for row in rows], np.int64), vectors.reshape(len(rows), self.dimension or 1)

    def chunk_count(self) -> int:
        with self.reading() as db:
            return db.execute("SELECT count(*) FROM chunks").fetchone()[0]

    def passages(self, after: int = 0) -> Iterator[tuple[npt.NDArray, npt.NDArray, list[npt.NDArray]]]:
        """All chunks with ids above ``after``, in blocks, in order of their ids.

        Yields:
            ids int64 [N], passage vectors float16 [N, D], and the terms uint32 [T] of each passage.
        """
        with self.decoding() as db:
            rows = db.execute("SELECT chunk, vector, terms FROM features WHERE chunk > ? ORDER BY chunk", (after,))
            while block := rows.fetchmany(BLOCK):
                ids = np.fromiter((row[0] for row in block), np.int64, len(block))
                vectors = np.frombuffer(b"".join(row[1] for row in block), np.float16).reshape(len(block), -1)
                yield ids, vectors, [np.frombuffer(row[2], np.uint32) for row in block]

    def some_vectors(self, count: int) -> npt.NDArray[np.float16]:
        """About ``count`` passage vectors, spread evenly over the store. -> [about count, D]"""
        with self.decoding() as db:
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

    def _check_dimension(self, db: sqlite3.Connection, dimension: int) -> None:
        db.execute("INSERT OR IGNORE INTO manifest VALUES ('dimension', ?)", (str(dimension),))
        (stored,) = db.execute("SELECT value FROM manifest WHERE key = 'dimension'").fetchone()
        if int(stored) != dimension:
            raise StoreError(
                f"the encoder gives vectors of {dimension} numbers, but {self.path} holds vectors of {stored};"
                " index into a new store"
            )


def _insert(db: sqlite3.Connection, table: str, **values: Any) -> int:
    """Insert one row. -> its id"""
    columns, marks = ", ".join(f'"{name}"' for name in values), ", ".join("?" * len(values))
    row = db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(values.values())).lastrowid  # noqa: S608
    assert row is not None
    return row


def _storable(text: str) -> str:
    """``text`` with each lone surrogate, which UTF-8 cannot hold, replaced: same length, so spans stay right."""
    return text.encode("utf-8", "replace").decode("utf-8")
