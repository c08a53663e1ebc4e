"""Serving a Gradio page to this machine, and to nobody else."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import webbrowser
from threading import Thread
from types import FrameType
from urllib.parse import urlsplit

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genaisys.apps.elements import PAGE
from genaisys.apps.theme import theme
from genaisys.errors import GenaisysError

HOST = "127.0.0.1"
FIRST_PORT, PORTS_TRIED = 7860, 100

# The browser itself sees to it that the page talks to this server only. Gradio compiles its templates in the page.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; frame-ancestors 'none'"
)


class PortTaken(GenaisysError):
    """Another program listens there."""


def serve(blocks: gr.Blocks, head: str, max_file_bytes: int, port: int | None, open_browser: bool) -> None:
    """Serve ``blocks`` on 127.0.0.1 until Ctrl-C.

    Args:
        head: for the page's ``<head>``; the files in ``apps/page`` are served under ``/page/``.
        port: ``None`` takes the first free one from 7860 on.

    Raises:
        PortTaken: another program listens on ``port``.
    """
    listener = _listen(port)
    url = f"http://{HOST}:{listener.getsockname()[1]}"
    app = asgi_app(blocks, head, max_file_bytes)
    server = _Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    print(f"genaisys is at {url} (Ctrl-C stops it)", flush=True)
    if open_browser:
        Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn stops, then asks again: uploads are cleared away
    server.run(sockets=[listener])


def asgi_app(blocks: gr.Blocks, head: str, max_file_bytes: int) -> ASGIApp:
    """``blocks`` as a web application: no telemetry, no links out, no other origin, no API docs."""
    app = FastAPI(openapi_url=None)
    app.mount("/page", StaticFiles(directory=PAGE))
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_name=HOST,
        footer_links=[],
        run_history=False,
        max_file_size=max_file_bytes,
        favicon_path=str(PAGE / "icon.png"),
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
        theme=theme(),
        head=head,
    )
    return OwnPageOnly(app)


class OwnPageOnly:
    """Turns away requests that other web pages make a browser send here, and confines our own page to this server."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if urlsplit(f"//{host}").hostname not in (HOST, "localhost") or (origin and urlsplit(origin).netloc != host):
            await PlainTextResponse("This server answers its own page only.", status_code=403)(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = _POLICY
            await send(message)

        await self.app(scope, receive, send_with_policy)


class _Server(uvicorn.Server):
    """Stops at once: an open page keeps a connection, and Ctrl-C should not wait for somebody to close it."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # connections that are cut now are no errors
        super().handle_exit(sig, frame)


def _listen(port: int | None) -> socket.socket:
    """A listening socket on ``port``, or on the first free port."""
    for candidate in (port,) if port is not None else range(FIRST_PORT, FIRST_PORT + PORTS_TRIED):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, candidate))
            listener.listen()
            return listener
        except OSError:
            listener.close()
    if port is not None:
        raise PortTaken(f"port {port} is in use by another program; choose another with --port, or leave --port out")
    raise PortTaken(f"ports {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1} are all in use; choose one with --port")
