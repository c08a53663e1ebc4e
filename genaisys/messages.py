"""Chat messages: the one language in which systems, models, tools and apps talk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image, as a ``data:`` or ``https:`` URL."""

    url: str


@dataclass(frozen=True, slots=True)
class Audio:
    """Recorded sound, base64-encoded, with its container format (``wav``, ``mp3``)."""

    data: str
    format: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to run a tool; ``arguments`` is the JSON text exactly as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    content: str


Part = Text | Image | Audio | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of a conversation; lossless to and from the OpenAI chat form."""

    role: Role
    parts: tuple[Part, ...]

    @classmethod
    def system(cls, text: str) -> ChatMessage:
        return cls("system", (Text(text),))

    @classmethod
    def user(cls, text: str) -> ChatMessage:
        return cls("user", (Text(text),))

    @classmethod
    def assistant(cls, text: str) -> ChatMessage:
        return cls("assistant", (Text(text),))

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    def to_openai(self) -> dict[str, Any]:
        """The message as an element of ``messages`` in an OpenAI chat request.

        Raises:
            ValueError: the form has no place for it: a tool result elsewhere than alone in a tool message.
        """
        if self.role == "tool":
            match self.parts:
                case (ToolResult(call_id, result),):
                    return {"role": "tool", "tool_call_id": call_id, "content": result}
            raise ValueError("a tool message holds one tool result and nothing else")
        message: dict[str, Any] = {"role": self.role}
        content = [_content_to_openai(part) for part in self.parts if not isinstance(part, ToolCall)]
        if len(content) == 1 and content[0]["type"] == "text":
            message["content"] = content[0]["text"]
        else:
            message["content"] = content or None
        calls = [part for part in self.parts if isinstance(part, ToolCall)]
        if calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in calls
            ]
        return message

    @classmethod
    def from_openai(cls, message: dict[str, Any]) -> ChatMessage:
        """The inverse of :meth:`to_openai`, where tool calls come after the content.

        Raises:
            ValueError: the message has a role or a content that is not known here.
        """
        role = message.get("role")
        if role not in ("system", "user", "assistant", "tool"):
            raise ValueError(f"unknown role {role!r}; expected system, user, assistant or tool")
        if role == "tool":
            match message:
                case {"tool_call_id": str(call_id), "content": str(result)}:
                    return cls("tool", (ToolResult(call_id, result),))
            raise ValueError("a tool message needs a tool_call_id and a content")
        match message.get("content"):
            case None:
                content: tuple[Part, ...] = ()
            case str(text):
                content = (Text(text),)
            case list(items):
                content = tuple(_content_from_openai(item) for item in items)
            case other:
                raise ValueError(f"the content of a message is text or a list, not {other!r}")
        return cls(role, (*content, *(_call_from_openai(call) for call in message.get("tool_calls") or ())))


def _content_to_openai(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(url):
            return {"type": "image_url", "image_url": {"url": url}}
        case Audio(data, container):
            return {"type": "input_audio", "input_audio": {"data": data, "format": container}}
    raise ValueError(f"{type(part).__name__} belongs into a tool message")


def _content_from_openai(item: Any) -> Part:
    match item:
        case {"type": "text", "text": str(text)}:
            return Text(text)
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return Image(url)
        case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(container)}}:
            return Audio(data, container)
    raise ValueError(f"unknown content {item!r}")


def _call_from_openai(call: Any) -> ToolCall:
    match call:
        case {"id": str(call_id), "function": {"name": str(name), "arguments": str(arguments)}}:
            return ToolCall(call_id, name, arguments)
    raise ValueError(f"no tool call: {call!r}")
