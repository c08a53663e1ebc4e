"""A language model behind an OpenAI-compatible endpoint: vLLM, llama.cpp, Ollama and others, on any machine."""

import json
import os
import re
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

import httpx

from genaisys.errors import GenaisysError
from genaisys.messages import ChatMessage

_ATTEMPTS = 3
_TIMEOUT = httpx.Timeout(10, connect=5, read=120)  # seconds; a big model may take long to its first word
_CONTEXT = 4096  # tokens, where the endpoint does not say
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds between attempts
_MAX_LINE = 1 << 20  # characters of one event of a stream, or of an answer that is no stream
_PIECE = re.compile(r" ?[A-Za-z]{1,4}|\s+|.")


class EndpointFailed(GenaisysError):
    """The endpoint did not answer as it should."""


class _MayPass(EndpointFailed):
    """A failure that may be gone a moment later."""

    wait = 0.0  # seconds, where the server asks for it


class EndpointChatModel:
    """Continues conversations on an OpenAI-compatible endpoint. Threads may share one.

    A key, where one is needed, is taken from the environment variable ``OPENAI_API_KEY`` and from nowhere else.
    """

    def __init__(self, url: str, model: str | None = None) -> None:
        """Ask the endpoint at ``url`` what it offers, and take ``model``, or else the first.

        Raises:
            EndpointFailed: nothing answers there, the key is refused, or there is no model.
        """
        self._url = url
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        self._client = httpx.Client(timeout=_TIMEOUT, headers=headers)
        offered = self._offered()
        if not (model or offered):
            raise EndpointFailed(f"{url} offers no model: load one there")
        self._model = model or next(iter(offered))
        self.name = f"openai:{url}#{self._model}"
        self.context_length = offered.get(self._model) or _CONTEXT

    @classmethod
    def from_name(cls, name: str) -> "EndpointChatModel":
        """The model of ``openai:http://host:port[/v1][#model]``.

        Raises:
            EndpointFailed: the name has another form, or as above.
        """
        address, _, model = name.removeprefix("openai:").partition("#")
        try:
            url = httpx.URL(address)
        except (httpx.InvalidURL, UnicodeError):
            url = httpx.URL()
        if url.scheme not in ("http", "https") or not url.host:
            raise EndpointFailed(
                f"{name} names no endpoint: write openai:http://HOST:PORT or openai:http://HOST:PORT#MODEL"
            )
        return cls(address.rstrip("/").removesuffix("/v1") + "/v1", model or None)

    def count_tokens(self, text: str) -> int:
        """An estimate from above: at most four letters a token, each digit and sign one, each byte beyond ASCII one."""
        return sum(
            1 if piece.isascii() else len(piece.encode("utf-8", "surrogatepass")) for piece in _PIECE.findall(text)
        )

    def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Iterator[str]:
        """The reply, piece by piece. Closing the iterator closes the connection, which stops the generation.

        A busy or failing server is asked again as long as nothing of the reply has come.

        Raises:
            EndpointFailed: on iteration; the message says what is wrong.
        """
        request = {
            "model": self._model,
            "messages": [message.to_openai() for message in messages],
            "max_tokens": max_tokens,
            "temperature": temperature,
            "stream": True,
        }
        if seed is not None:
            request["seed"] = seed
        for attempt in range(1, _ATTEMPTS + 1):
            with closing(self._pieces(request)) as pieces:
                try:
                    first = next(pieces, None)
                except _MayPass as failure:
                    if attempt == _ATTEMPTS:
                        raise
                    time.sleep(max(failure.wait, _FIRST_WAIT * 2 ** (attempt - 1)))
                    continue
                if first is not None:
                    yield first
                    yield from pieces
                return

    def reply(
        self,
        messages: Sequence[ChatMessage],
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> ChatMessage:
        """The whole reply; see :meth:`stream`."""
        pieces = self.stream(messages, max_tokens=max_tokens, temperature=temperature, seed=seed)
        return ChatMessage.assistant("".join(pieces))

    def _pieces(self, request: dict[str, Any]) -> Generator[str]:
        """The contents of a stream of server-sent events."""
        finished = False
        with self._response("POST", "chat/completions", request) as response:
            for line in self._lines(response):
                data = line.removeprefix("data:").strip()
                if not line.startswith("data:") or not data:  # comments, other fields, ends of events
                    continue
                if data == "[DONE]":
                    return
                choice = self._choice(data)
                finished |= choice.get("finish_reason") is not None
                if piece := (choice.get("delta") or {}).get("content"):
                    yield str(piece)
        if not finished:
            raise _MayPass(f"{self._url} broke off in the middle of its answer")

    def _choice(self, data: str) -> dict[str, Any]:
        event = self._json(data)
        if event.get("error"):
            raise EndpointFailed(f"{self._url} failed while it answered: {_reason(data)}")
        match event.get("choices"):
            case [{"delta": dict() | None} as choice, *_]:
                return choice
            case [] | None:  # counts of tokens
                return {}
        raise EndpointFailed(f"{self._url} sends something that is no chat stream: {data[:80]}")

    def _json(self, data: str) -> dict[str, Any]:
        with suppress(ValueError, RecursionError):
            if isinstance(value := json.loads(data), dict):
                return value
        raise EndpointFailed(f"{self._url} sends something that is no OpenAI-compatible answer: {data[:80]}")

    def _offered(self) -> dict[str, int | None]:
        """The models, and the length of their context where it is told (vLLM does)."""
        with self._response("GET", "models") as response:
            match self._json(_body(response)):
                case {"data": [*entries]} if all(isinstance(entry, dict) and "id" in entry for entry in entries):
                    return {str(entry["id"]): entry.get("max_model_len") for entry in entries}
        raise EndpointFailed(f"{self._url} does not say which models it offers")

    @contextmanager
    def _response(self, method: str, path: str, body: dict[str, Any] | None = None) -> Iterator[httpx.Response]:
        """An answer with status 200, still to be read; every failure becomes one plain line."""
        content = json.dumps(body) if body else None  # in ASCII, so that no character can be a problem
        try:
            with self._client.stream(method, f"{self._url}/{path}", content=content) as response:
                if response.status_code != httpx.codes.OK:
                    raise self._refusal(response, path)
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _MayPass(
                f"nothing answers at {self._url}: start the server, or check the address ({error})"
            ) from error
        except httpx.TimeoutException as error:
            raise EndpointFailed(
                f"{self._url} has been silent for {_TIMEOUT.read:.0f} s: it is overloaded or stuck"
            ) from error
        except httpx.TransportError as error:
            raise _MayPass(f"the connection to {self._url} broke ({error or type(error).__name__})") from error

    def _refusal(self, response: httpx.Response, path: str) -> EndpointFailed:
        reason = _reason(_body(response))
        match response.status_code:
            case 401 | 403:
                return EndpointFailed(f"{self._url} refuses the key: set the environment variable OPENAI_API_KEY")
            case 404 if path == "chat/completions":
                offered = ", ".join(self._offered()) or "no model"
                return EndpointFailed(f"{self._url} has no model {self._model}; it offers {offered}")
            case 404:
                return EndpointFailed(f"{self._url} is no OpenAI-compatible endpoint: it knows no /{path}")
            case 429 | 500 | 502 | 503 | 504 as status:
                failure = _MayPass(f"{self._url} is busy or failing (status {status}): {reason}")
                with suppress(ValueError):
                    failure.wait = min(float(response.headers.get("Retry-After", 0)), _LONGEST_WAIT)
                return failure
            case status:
                return EndpointFailed(f"{self._url} refuses the request (status {status}): {reason}")

    def _lines(self, response: httpx.Response) -> Iterator[str]:
        rest = ""
        for text in response.iter_text():
            *lines, rest = (rest + text).split("\n")
            yield from lines
            if len(rest) > _MAX_LINE:
                raise EndpointFailed(f"{self._url} sends a line of more than {_MAX_LINE:,} characters")
        yield rest


def _body(response: httpx.Response) -> str:
    """What an answer that is no stream says, cut off where it gets absurdly long."""
    body = ""
    for text in response.iter_text():
        body += text
        if len(body) > _MAX_LINE:
            break
    return body[:_MAX_LINE]


def _reason(body: str) -> str:
    """The message of an error, whatever the server has wrapped it in, as one line."""
    with suppress(ValueError):
        match json.loads(body):
            case {"error": {"message": str(message)}} | {"error": str(message)} | {"message": str(message)}:
                body = message
    return " ".join(body.split())[:300] or "it gives no reason"
