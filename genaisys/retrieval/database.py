"""One SQLite file: its making, its transactions, and what goes wrong with it in plain words."""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

from genaisys.errors import GenaisysError

BUSY_SECONDS = 30.0


class StoreError(GenaisysError):
    """The store is damaged, busy, full, or of another make; the message says what to do."""


class Database:
    """A file of tables with a manifest (key, value). Safe to share between threads, and between processes.

    Readers go on reading while one writes (write-ahead log), and never wait: they have a connection of their own.
    """

    def __init__(self, path: Path, tables: str, schema: int, manifest: Mapping[str, str]) -> None:
        """Open the file at ``path``; where there is none, make it.

        Args:
            tables: the SQL that makes them, one of them ``manifest``.
            schema: the version of the tables, kept in the manifest.
            manifest: what else a new file's manifest holds.

        Raises:
            StoreError: the file is damaged, not of this kind, or made by a newer version of this software.
        """
        self.path = path
        self._read_lock, self._write_lock = RLock(), RLock()
        with self._plain_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
            self._use_write_ahead_log()
            if not self._tables():
                with self.writing() as db:
                    if not self._tables():  # another process may have been quicker
                        for statement in _statements(tables):
                            db.execute(statement)
                        db.executemany(
                            "INSERT INTO manifest VALUES (?, ?)", ({"schema": str(schema)} | dict(manifest)).items()
                        )
            if "manifest" not in self._tables():
                raise StoreError(f"{path} is a database, but not an index of genaisys; choose another folder")
            self.manifest = dict(self._writer.execute("SELECT key, value FROM manifest").fetchall())
            if int(self.manifest["schema"]) > schema:
                raise StoreError(f"{path} was made by a newer version of genaisys; update genaisys to open it")
            self._reader = self._connect()
            # KiB. Mapping the file would be as quick, but would make a failing disk a crash instead of an error.
            self._reader.execute("PRAGMA cache_size = -65536")

    def close(self) -> None:
        with self._read_lock, self._write_lock:
            self._reader.close()
            self._writer.close()

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

    @contextmanager
    def decoding(self) -> Iterator[sqlite3.Connection]:
        """As :meth:`reading`, where rows are taken apart: SQLite does not notice when their content is damaged."""
        with self.reading() as db:
            try:
                yield db
            except (ValueError, TypeError) as error:
                raise StoreError(self._damaged(error)) from error

    def version(self) -> int:
        """A number that changes whenever anyone, in any process, has changed the store."""
        with self._read_lock, self._plain_errors():
            return self._reader.execute("PRAGMA data_version").fetchone()[0]

    def flush(self) -> None:
        """See to it that not even a power cut can undo what has been written until now."""
        with self._write_lock, self._plain_errors():
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = NORMAL")  # a power cut may undo the last commits, and do no other harm
        return db

    def _use_write_ahead_log(self) -> None:
        # This does not wait for locks by itself, and two processes may be making the file at once.
        deadline = time.monotonic() + BUSY_SECONDS
        while self._writer.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                self._writer.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _tables(self) -> set[str]:
        return {row[0] for row in self._writer.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(self._explain(error)) from error
        except OSError as error:
            raise StoreError(f"cannot use {self.path.parent}: {error.strerror or error}") from error

    def _explain(self, error: sqlite3.Error) -> str:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
        match code:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return f"another process has kept {self.path} busy for {BUSY_SECONDS:.0f} s; try again when it is done"
            case sqlite3.SQLITE_FULL:
                return f"no space left for {self.path}; what was indexed before is safe: free some space and run again"
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return self._damaged(error)
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_IOERR:
                return f"cannot read or write {self.path} ({error}); check the folder's permissions and the disk"
        return f"{self.path} failed: {error}; if this happens again, delete {self.path.parent} and index again"

    def _damaged(self, error: Exception) -> str:
        return f"{self.path} is damaged ({error}); delete {self.path.parent} and index your documents again"


def _statements(script: str) -> Iterator[str]:
    """The statements of an SQL script. (``executescript`` would commit the open transaction.)"""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
