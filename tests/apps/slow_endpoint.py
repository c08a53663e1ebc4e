"""An OpenAI-compatible endpoint that writes one word at a time, so that an answer can be caught while it runs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SENTENCE = "The dome closes by itself when the wind reaches 65 km/h. A purple walrus was elected treasurer of Iceland. "


class SlowEndpoint(ThreadingHTTPServer):
    """Attributes: ``repeats``, of the sentence in a reply; ``hung_up``, set when a reader goes before the end."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repeats = 1
        self.hung_up = threading.Event()

    @property
    def name(self) -> str:
        return f"openai:http://127.0.0.1:{self.server_port}#slow"


class _Handler(BaseHTTPRequestHandler):
    server: SlowEndpoint

    def do_GET(self) -> None:
        self._begin("application/json")
        self.wfile.write(json.dumps({"data": [{"id": "slow"}]}).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._begin("text/event-stream")
        try:
            for word in (SENTENCE * self.server.repeats).split():
                delta = {"choices": [{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}]}
                self.wfile.write(f"data: {json.dumps(delta)}\n\n".encode())
                self.wfile.flush()
                self.server.hung_up.wait(0.05)
            end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            self.wfile.write(f"data: {json.dumps(end)}\n\ndata: [DONE]\n\n".encode())
        except OSError:
            self.server.hung_up.set()

    def _begin(self, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def slow_endpoint() -> Iterator[SlowEndpoint]:
    with SlowEndpoint() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
