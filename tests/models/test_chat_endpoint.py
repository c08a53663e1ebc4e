"""The endpoint chat model against real servers on this machine: good, busy, slow, broken and rude ones."""

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from genaisys.hub import local_path
from genaisys.messages import Audio, ChatMessage, Image, Text, ToolCall, ToolResult
from genaisys.models.chat import endpoint, open_chat_model
from genaisys.models.chat.endpoint import EndpointChatModel, EndpointFailed

QUESTION = [ChatMessage.user("Who?")]


def event(content: str | None = None, *, finish: str | None = None) -> bytes:
    delta = {} if content is None else {"content": content}
    return f"data: {json.dumps({'choices': [{'delta': delta, 'finish_reason': finish}]})}\n\n".encode()


GOOD = [event("Ma"), event("ria "), event("Ött"), event(finish="stop"), b"data: [DONE]\n\n"]


class Server(http.server.ThreadingHTTPServer):
    """Plays an OpenAI-compatible server: each chat request takes the next of ``answers``, and the last for ever."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models: Any = {"data": [{"id": "big", "max_model_len": 32768}, {"id": "small"}]}
        self.answers: list[Callable[[Handler], None]] = [stream(GOOD)]
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.hung_up = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.keys.append(self.headers.get("Authorization"))
        if self.path != "/v1/models" or self.server.models is None:
            self.reply(404, b"not here")
        else:
            self.reply(200, json.dumps(self.server.models).encode())

    def do_POST(self) -> None:
        assert self.path == "/v1/chat/completions"
        self.server.keys.append(self.headers.get("Authorization"))
        self.server.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def stream(chunks: list[bytes]) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(200, b"".join(chunks), Content_Type="text/event-stream")


def refuse(status: int, body: bytes = b"", **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(status, body, **headers)


def hang_up(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def reset_after(chunks: list[bytes]) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(b"".join(chunks))

    return answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(endpoint, "_FIRST_WAIT", 0.001)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def connect(server: Server) -> EndpointChatModel:
    return EndpointChatModel.from_name(f"openai:{server.url}")


def failure(server: Server, *answers: Callable[[Handler], None]) -> str:
    """What a user is told when the server answers so."""
    server.answers = list(answers)
    with pytest.raises(EndpointFailed) as error:
        connect(server).reply(QUESTION)
    assert "\n" not in str(error.value)
    assert server.url in str(error.value)
    return str(error.value)


# -- what works


def test_the_reply_streams_piece_by_piece(server: Server) -> None:
    model = connect(server)
    assert list(model.stream(QUESTION)) == ["Ma", "ria ", "Ött"]
    assert model.reply(QUESTION) == ChatMessage.assistant("Maria Ött")


def test_pieces_arrive_while_the_server_still_writes(server: Server) -> None:
    read = threading.Event()

    def answer(handler: Handler) -> None:
        handler.reply(200, event("first"))
        assert read.wait(10)
        handler.wfile.write(event(" second") + b"data: [DONE]\n\n")

    server.answers = [answer]
    pieces = connect(server).stream(QUESTION)
    assert next(pieces) == "first"
    read.set()
    assert list(pieces) == [" second"]


@pytest.mark.parametrize("form", ["{url}", "{url}/", "{url}/v1", "{url}/v1/"])
def test_the_address_may_be_written_with_and_without_v1(server: Server, form: str) -> None:
    model = open_chat_model("openai:" + form.format(url=server.url))
    assert model.reply(QUESTION).text == "Maria Ött"


def test_the_model_is_the_first_offered_or_the_one_named(server: Server) -> None:
    first, named = connect(server), open_chat_model(f"openai:{server.url}#small")
    first.reply(QUESTION)
    named.reply(QUESTION)
    assert [request["model"] for request in server.requests] == ["big", "small"]
    assert first.context_length == 32768
    assert 0 < named.context_length < 32768


def test_a_request_says_what_was_asked_for_and_loses_nothing(server: Server) -> None:
    messages = [
        ChatMessage.system("Be brief."),
        ChatMessage("user", (Text("Look:"), Image("data:image/png;base64,AA=="), Audio("AA==", "wav"))),
        ChatMessage("assistant", (ToolCall("c1", "add", '{"a":1}'),)),
        ChatMessage("tool", (ToolResult("c1", "lone surrogate \udcff"),)),
    ]
    connect(server).reply(messages, max_tokens=7, temperature=0.5, seed=3)
    (request,) = server.requests
    assert [ChatMessage.from_openai(message) for message in request.pop("messages")] == messages
    assert request == {"model": "big", "max_tokens": 7, "temperature": 0.5, "seed": 3, "stream": True}


def test_the_key_comes_from_the_environment_only(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(server).reply(QUESTION)
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    connect(server).reply(QUESTION)
    assert server.keys == [None, None, "Bearer secret", "Bearer secret"]


def test_other_lines_of_a_stream_are_passed_over(server: Server) -> None:
    noise = [b": ping\n\n", b"event: x\r\nid: 1\r\n", b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n']
    role = b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": null}]}\r\n\r\n'
    server.answers = [stream([*noise, role, *GOOD[:2], *noise, *GOOD[2:]])]
    assert list(connect(server).stream(QUESTION)) == ["Ma", "ria ", "Ött"]


def test_a_stream_that_ends_with_a_finish_reason_is_whole(server: Server) -> None:
    server.answers = [stream(GOOD[:-1])]
    assert connect(server).reply(QUESTION).text == "Maria Ött"


def test_closing_the_iterator_closes_the_connection(server: Server) -> None:
    def talk(handler: Handler) -> None:
        handler.reply(200, b"")
        try:
            while True:
                handler.wfile.write(event("word "))
        except OSError:
            server.hung_up.set()

    server.answers = [talk]
    pieces = connect(server).stream(QUESTION)
    assert next(pieces) == "word "
    pieces.close()
    assert server.hung_up.wait(10)


# -- what passes


@pytest.mark.parametrize(
    "trouble",
    [refuse(429, Retry_After="0"), refuse(503, b"loading model"), refuse(500), hang_up, stream([]), reset_after([])],
    ids=["429", "503", "500", "hung up", "empty", "reset"],
)
def test_trouble_before_the_first_word_is_tried_again(server: Server, trouble: Callable[[Handler], None]) -> None:
    server.answers = [trouble, trouble, stream(GOOD)]
    assert connect(server).reply(QUESTION).text == "Maria Ött"
    assert len(server.requests) == 3


def test_the_server_says_how_long_to_wait(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(endpoint.time, "sleep", waits.append)
    server.answers = [refuse(429, Retry_After="7"), refuse(429, Retry_After="86400"), stream(GOOD)]
    connect(server).reply(QUESTION)
    assert waits == [7, 30]


def test_trouble_that_stays_is_told(server: Server) -> None:
    assert "429" in failure(server, refuse(429))
    assert len(server.requests) == 3
    assert "loading model" in failure(server, refuse(503, b'{"error": {"message": "loading\\nmodel", "code": 503}}'))


# -- what fails


def test_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_FIRST_WAIT", 0.001)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(EndpointFailed, match=r"nothing answers at .*: start the server"):
            open_chat_model(f"openai:{url}")


def test_a_reply_that_breaks_off_is_not_taken_for_a_whole_one(server: Server) -> None:
    for cut in (stream(GOOD[:2]), reset_after(GOOD[:2])):
        server.answers = [cut]
        pieces = connect(server).stream(QUESTION)
        assert [next(pieces), next(pieces)] == ["Ma", "ria "]
        with pytest.raises(EndpointFailed, match="bro"):
            next(pieces)
    assert len(server.requests) == 2, "words that were shown cannot be taken back: no second try"


def test_a_silent_server_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_TIMEOUT", httpx.Timeout(0.2))
    release = threading.Event()
    message = failure(server, lambda handler: release.wait(10) and None)
    release.set()
    assert "silent" in message
    assert len(server.requests) == 1


def test_a_wrong_key(server: Server) -> None:
    assert "OPENAI_API_KEY" in failure(server, refuse(401))


def test_an_unknown_model_is_answered_with_those_on_offer(server: Server) -> None:
    server.answers = [refuse(404, b'{"error": {"message": "The model does not exist."}}')]
    with pytest.raises(EndpointFailed, match="no model huge; it offers big, small"):
        open_chat_model(f"openai:{server.url}#huge").reply(QUESTION)


def test_a_request_that_the_server_does_not_take(server: Server) -> None:
    message = failure(server, refuse(400, b'{"error": {"message": "maximum context length is 4096 tokens"}}'))
    assert "maximum context length is 4096 tokens" in message
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "chunk",
    [
        b"data: {nonsense\n\n",
        b'data: {"choices": 7}\n\n',
        b'data: {"choices": [{"text": "x"}]}\n\n',
        b"data: []\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"error": {"message": "out of memory"}}\n\n',
        b"data: " + b"x" * 2_000_000,
        b"<html>It works!</html>",
        b"data: \xff\xfe\n\n",
    ],
    ids=["json", "choices", "delta", "list", "deep", "error", "endless", "html", "bytes"],
)
def test_what_is_no_chat_stream(server: Server, chunk: bytes) -> None:
    message = failure(server, stream([chunk]))
    assert len(message) < 500
    if b"out of memory" in chunk:
        assert "out of memory" in message


@pytest.mark.parametrize("models", [None, [], {}, {"data": None}, {"data": [7]}, {"data": []}])
def test_a_server_that_offers_no_models(server: Server, models: Any) -> None:
    server.models = models
    with pytest.raises(EndpointFailed) as error:
        connect(server)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "openai:",
        "openai:localhost:8000",
        "openai:ftp://x",
        "openai:http://",
        "openai:http://a:b",
        "openai:http://\udcff",
    ],
)
def test_what_is_no_address(name: str) -> None:
    with pytest.raises(EndpointFailed) as error:
        open_chat_model(name)
    assert "\n" not in str(error.value)


# -- counting


def test_tokens_are_estimated_from_above(server: Server) -> None:
    """Against a real tokenizer, and not so far above that the budget is wasted."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(local_path("smollm2-135m-instruct"))
    model = connect(server)
    source = Path(endpoint.__file__).read_text("utf-8")
    prose = f"{endpoint.__doc__} {EndpointChatModel.stream.__doc__}"
    texts = [
        prose,
        "The observatory, founded by Zbigniew Brzęczyszczykiewicz in 1892-1893, cost $1,234,567.89 (≈ 1.2 million).",
        source,
        "| a | 1 |\n|---|---|\n| b | 22.5 |\n" * 5,
        "日本語の文章です。これはテストです。",
        "Привет, как дела? Хорошо.",
        "😀👩‍🔬",
        "",
    ]
    for text in texts:
        assert model.count_tokens(text) >= len(tokenizer.encode(text)), text[:50]
    assert model.count_tokens(prose) < 2 * len(tokenizer.encode(prose))
