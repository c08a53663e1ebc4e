"""Chat messages survive the way through the OpenAI form and JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaisys.messages import Audio, ChatMessage, Image, Text, ToolCall, ToolResult

texts = st.text()
contents = st.one_of(st.builds(Text, texts), st.builds(Image, texts), st.builds(Audio, texts, texts))
calls = st.builds(ToolCall, texts, texts, texts)
messages = st.one_of(
    st.builds(
        lambda role, content, calls: ChatMessage(role, (*content, *calls)),
        st.sampled_from(["system", "user", "assistant"]),
        st.lists(contents, max_size=4),
        st.lists(calls, max_size=3),
    ),
    st.builds(lambda call, content: ChatMessage("tool", (ToolResult(call, content),)), texts, texts),
)


@given(messages)
def test_the_openai_form_loses_nothing(message: ChatMessage) -> None:
    sent = json.dumps(message.to_openai())
    assert ChatMessage.from_openai(json.loads(sent)) == message


def test_the_forms_are_those_that_servers_expect() -> None:
    assert ChatMessage.user("Hello").to_openai() == {"role": "user", "content": "Hello"}
    picture = ChatMessage("user", (Text("What is this?"), Image("data:image/png;base64,AA==")))
    assert picture.to_openai()["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]
    call = ChatMessage("assistant", (ToolCall("c1", "add", '{"a": 1}'),))
    assert call.to_openai() == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
    }
    result = ChatMessage("tool", (ToolResult("c1", "1"),))
    assert result.to_openai() == {"role": "tool", "tool_call_id": "c1", "content": "1"}


def test_what_the_form_cannot_hold_is_refused() -> None:
    """Rather than dropped."""
    for message in (
        ChatMessage("user", (ToolResult("c1", "1"),)),
        ChatMessage("tool", (ToolResult("c1", "1"), Text("and more"))),
        ChatMessage("tool", (Text("no result"),)),
    ):
        with pytest.raises(ValueError, match="tool"):
            message.to_openai()


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"role": "developer", "content": "x"},
        {"role": "user", "content": [{"type": "video"}]},
        {"role": "user", "content": [{"type": "text", "text": None}]},
        {"role": "user", "content": [7]},
        {"role": "user", "content": 7},
        {"role": "tool", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": "c1"}]},
    ],
)
def test_what_is_no_message_is_refused(message: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"role|content|tool"):
        ChatMessage.from_openai(message)


def test_text_is_the_text_parts_joined() -> None:
    message = ChatMessage("user", (Text("a"), Image("data:,"), Text("b")))
    assert message.text == "ab"
