"""Reading and chunking files in processes of their own.

A file can make its parser hang, crash, or eat all memory. Here it harms only itself: its process ends, one plain error
says so, and the next file gets a new process. Parent and child exchange lines of JSON over pipes; the child ends when
its input does, so none is left behind however the parent ends.
"""

import faulthandler
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

from genaisys.retrieval.documents import Block, Chunk, Document
from genaisys.retrieval.readers import UnreadableDocument

SECONDS_PER_FILE = 300.0


class ReaderProcess:
    """Reads one file at a time, in a process that starts with the first and starts again when a file has ended it."""

    def __init__(self, seconds_per_file: float = SECONDS_PER_FILE) -> None:
        self._seconds = seconds_per_file
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def read(self, path: Path, source: str) -> tuple[Document, list[Chunk]]:
        """The document in the file at ``path``, and its chunks.

        Raises:
            UnreadableDocument: the file cannot be read, takes too long, or crashes its reader.
        """
        if self._process is None:
            self._process = self._start()
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None
        began = time.monotonic()
        try:
            requests.write(json.dumps([os.fspath(path), source]).encode() + b"\n")
            requests.flush()
            reply = replies.readline()
        except OSError:  # the child is gone
            reply = b""
        if not reply.endswith(b"\n"):
            code = self._stop()
            if time.monotonic() - began >= self._seconds:
                raise UnreadableDocument(
                    f"{source} took longer than {self._seconds:.0f} s to read; split it into parts"
                )
            raise UnreadableDocument(
                f"{source} made its reader stop (code {code}); it is damaged, or too large for this machine's memory"
            )
        return _from_reply(json.loads(reply))

    def close(self) -> None:
        """End the process at once, also in the middle of a file."""
        self._closed = True
        self._stop()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise UnreadableDocument("reading was stopped")
        return subprocess.Popen(  # noqa: S603, our own module
            [sys.executable, "-m", __name__, str(self._seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries grumble about files; what matters comes as an error
            start_new_session=True,  # so that Ctrl-C reaches the parent alone, which then ends the child
        )

    def _stop(self) -> int:
        """-> the exit code of the process"""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:  # what was still to be written has no reader
                continue
        return code


def _from_reply(reply: dict[str, Any]) -> tuple[Document, list[Chunk]]:
    if "error" in reply:
        raise UnreadableDocument(reply["error"])
    fields, chunks = reply["document"], reply["chunks"]
    fields["blocks"] = tuple(Block(*block) for block in fields["blocks"])
    document = Document(**fields)
    return document, [
        Chunk(
            document.source, ordinal, document.text[start:end], start, end, page, context, tuple(map(tuple, sentences))
        )
        for ordinal, start, end, page, context, sentences in chunks
    ]


# ---- the child


def _serve(requests: BinaryIO, replies: BinaryIO, seconds_per_file: float) -> None:
    # The watchdog is a thread of C code: it ends the process even while a parser holds the interpreter's lock.
    with open(os.devnull, "w") as nowhere:
        for request in requests:
            path, source = json.loads(request)
            faulthandler.dump_traceback_later(seconds_per_file, exit=True, file=nowhere)
            reply = _reply(Path(path), source)
            faulthandler.cancel_dump_traceback_later()
            replies.write(json.dumps(reply).encode() + b"\n")
            replies.flush()


def _reply(path: Path, source: str) -> dict[str, Any]:
    from genaisys.retrieval.chunking import chunk_document
    from genaisys.retrieval.readers import read_document

    try:
        document = read_document(path, source=source)
        chunks = chunk_document(document)
    except UnreadableDocument as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": f"{source} needs more memory than there is; split it into parts"}
    fields = {name: getattr(document, name) for name in ("source", "title", "text", "media_type", "content_hash")}
    fields["metadata"] = dict(document.metadata)
    fields["blocks"] = [[b.kind, b.start, b.end, b.level, b.page, b.header] for b in document.blocks]
    return {"document": fields, "chunks": [[c.ordinal, c.start, c.end, c.page, c.context, c.sentences] for c in chunks]}


if __name__ == "__main__":
    # Replies go through a copy of stdout: a library that prints must not write between them.
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        _serve(sys.stdin.buffer, replies, float(sys.argv[1]))
