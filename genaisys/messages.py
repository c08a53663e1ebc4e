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
        """The message as an element of ``messages`` in an OpenAI chat request."""
        if self.role == "tool":
            (result,) = (part for part in self.parts if isinstance(part, ToolResult))
            return {"role": "tool", "tool_call_id": result.call_id, "content": result.content}
        message: dict[str, Any] = {"role": self.role}
        content = [_content_to_openai(part) for part in self.parts if not isinstance(part, ToolCall | ToolResult)]
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
        """The inverse of :meth:`to_openai`.

        Raises:
            ValueError: the message has a role or a content type that is not known here.
        """
        role = message.get("role")
        if role not in ("system", "user", "assistant", "tool"):
            raise ValueError(f"unknown role {role!r}; expected system, user, assistant or tool")
        content = message.get("content")
        if role == "tool":
            return cls("tool", (ToolResult(message["tool_call_id"], content or ""),))
        parts: list[Part] = []
        if isinstance(content, str):
            parts.append(Text(content))
        elif content:
            parts.extend(_content_from_openai(item) for item in content)
        for call in message.get("tool_calls") or ():
            parts.append(ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"]))
        return cls(role, tuple(parts))


def _content_to_openai(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(url):
            return {"type": "image_url", "image_url": {"url": url}}
        case Audio(data, container):
            return {"type": "input_audio", "input_audio": {"data": data, "format": container}}
    raise TypeError(f"{type(part).__name__} is not message content")


def _content_from_openai(item: dict[str, Any]) -> Part:
    match item:
        case {"type": "text", "text": str(text)}:
            return Text(text)
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return Image(url)
        case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(container)}}:
            return Audio(data, container)
    raise ValueError(f"unknown content type {item.get('type')!r}")
