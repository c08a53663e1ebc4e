"""Files of examples: what each shape means, and how broken lines are told."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_chat import messages, write_lines

from genaisys.training.finetuning import examples
from genaisys.training.finetuning.examples import (
    Chat,
    Continuation,
    ExamplesBroken,
    Labelled,
    conversation,
    labelled,
    preference,
    read_examples,
)

USER, ASSISTANT = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}


def test_the_shapes_of_trl(tmp_path: Path) -> None:
    lines = [
        messages(["hi", "ho"]),
        {"prompt": [USER], "completion": [ASSISTANT]},
        {"prompt": "1 + 1 =", "completion": " 2", "source": "ignored"},
    ]
    assert read_examples(write_lines(tmp_path / "a.jsonl", lines), conversation) == [
        Chat((USER, ASSISTANT)),
        Chat((USER, ASSISTANT), first=1),
        Continuation("1 + 1 =", " 2"),
    ]
    better = {"role": "assistant", "content": "hello"}
    lines = [{"prompt": [USER], "chosen": [better], "rejected": [ASSISTANT]}]
    (pair,) = read_examples(write_lines(tmp_path / "b.jsonl", lines), preference)
    assert (pair.chosen, pair.rejected) == (Chat((USER, better), 1), Chat((USER, ASSISTANT), 1))
    lines = [{"text": "what a day", "label": "good"}]
    assert read_examples(write_lines(tmp_path / "c.jsonl", lines), labelled) == [Labelled("what a day", "good")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is not JSON"),
        ("[1]", "is not a JSON object"),
        (b"\xff", "is not UTF-8"),
        ("[" * 100_000, "is not JSON"),
        ({"text": "hi"}, "has neither messages nor prompt and completion"),
        ({"messages": "hi"}, "has messages that are no list"),
        ({"messages": []}, "does not begin with a user's message"),
        ({"messages": [ASSISTANT]}, "does not begin with a user's message"),
        ({"messages": [USER, {"role": "assistant"}]}, "has no role and content in message 2"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "has a content that is no text in message 2"),
        ({"messages": [USER, {"role": "bot", "content": "ho"}]}, "has the role 'bot'"),
        ({"messages": [USER, ASSISTANT | {"tool_calls": []}]}, "has 'tool_calls' in message 2"),
        ({"messages": [USER]}, "has no assistant's message to learn"),
        ({"messages": [USER, {"role": "assistant", "content": " \n"}]}, "has an assistant's message without text"),
        ({"prompt": "hi", "completion": [ASSISTANT]}, "must have texts or lists of messages"),
        ({"prompt": "hi", "completion": ""}, "has no text as completion"),
    ],
)  # fmt: skip
def test_a_broken_line_is_told_by_its_number(tmp_path: Path, line: object, reason: str) -> None:
    broken = line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
    file = tmp_path / "a.jsonl"
    file.write_bytes(json.dumps(messages(["hi", "ho"])).encode() + b"\n\n" + broken + b"\n")
    with pytest.raises(ExamplesBroken, match=r"a\.jsonl cannot be learned from: line 3 ") as error:
        read_examples(file, conversation)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_many_broken_lines_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("{\n" * 10)
    with pytest.raises(ExamplesBroken, match=r"line 1 .* line 2 .* line 3 .* and 7 more lines"):
        read_examples(file, conversation)


def test_preferences_that_prefer_nothing_are_broken(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "b"}])
    with pytest.raises(ExamplesBroken, match="line 1 prefers an answer to itself"):
        read_examples(file, preference)


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_lines(tmp_path / "a.jsonl", [messages(["hi", "ho" * 100])])
    monkeypatch.setattr(examples, "_LONGEST_LINE", 100)
    with pytest.raises(ExamplesBroken, match="line 1 is longer"):
        read_examples(file, conversation)
    monkeypatch.setattr(examples, "_LARGEST_FILE", 100)
    with pytest.raises(ExamplesBroken, match="too large"):
        read_examples(file, conversation)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ExamplesBroken, match="no examples"):
        read_examples(tmp_path / "empty.jsonl", conversation)
    with pytest.raises(ExamplesBroken, match="cannot be read"):
        read_examples(tmp_path / "missing.jsonl", conversation)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["messages", "role", "content", "prompt", "completion"]), inner, max_size=3)
    ),
)


@settings(deadline=None)
@given(_JSON)
def test_whatever_a_line_holds_it_is_an_example_or_broken(value: object) -> None:
    with suppress(examples._LineBroken):
        assert isinstance(conversation(examples._object(json.dumps(value).encode())), Chat | Continuation)
