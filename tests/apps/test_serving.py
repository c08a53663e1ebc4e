"""The server answers its own page on this machine, and nobody else."""

import socket
from collections.abc import Iterator

import gradio as gr
import pytest
from starlette.testclient import TestClient

from genaisys.apps.serving import FIRST_PORT, PortTaken, _listen, asgi_app

OWN = "http://127.0.0.1:7860"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.HTML("hello")
    with TestClient(asgi_app(blocks, "", 1000), base_url=OWN) as client:
        yield client


def test_the_page_and_its_files_are_served(client: TestClient) -> None:
    assert client.get("/").status_code == 200
    for name in ("style.css", "inter.woff2", "literata.woff2", "OFL.txt"):
        assert client.get(f"/page/{name}").status_code == 200
    assert client.get("/page/../documents.py").status_code == 404


def test_the_page_may_reach_this_server_only(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "*" not in policy


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "192.168.0.7:7860"])
def test_another_name_for_this_machine_is_turned_away(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:9999", "null", "https://127.0.0.1.evil.example"]
)
def test_another_page_is_turned_away(client: TestClient, origin: str) -> None:
    assert client.post("/gradio_api/upload", headers={"origin": origin}).status_code == 403


def test_the_own_page_is_not_turned_away(client: TestClient) -> None:
    assert client.get("/config", headers={"origin": OWN}).status_code == 200


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"^port {port} is in use by another program; [^\n]*$"):
            _listen(port)


def test_without_a_wish_the_first_free_port_is_taken() -> None:
    with _listen(None) as first, _listen(None) as second:
        ports = first.getsockname()[1], second.getsockname()[1]
        assert FIRST_PORT <= ports[0] < ports[1]
        assert first.getsockname()[0] == "127.0.0.1"
