"""Dropping the oldest turns of a conversation that is too long."""

from genaisys.messages import ChatMessage
from genaisys.models.chat import drop_oldest_turns
from genaisys.models.chat.history import _TURN_TOKENS


class Words:
    """Counts words, and reads 200 of them."""

    name = "words"
    context_length = 200

    def count_tokens(self, text: str) -> int:
        return len(text.split())


def conversation(turns: int) -> list[ChatMessage]:
    pairs = [(ChatMessage.user(f"question {n}"), ChatMessage.assistant(f"answer {n}")) for n in range(turns)]
    return [ChatMessage.system("be kind"), *(message for pair in pairs for message in pair), ChatMessage.user("last")]


def size(messages: list[ChatMessage]) -> int:
    return sum(len(message.text.split()) + _TURN_TOKENS for message in messages)


def test_what_fits_is_kept_whole() -> None:
    messages = conversation(2)
    assert drop_oldest_turns(messages, Words(), 50) == (messages, 0)  # type: ignore[arg-type]


def test_the_oldest_go_first_and_a_question_begins() -> None:
    messages = conversation(20)
    kept, dropped = drop_oldest_turns(messages, Words(), 50)  # type: ignore[arg-type]
    assert kept[0] == messages[0]
    assert kept[1:] == messages[-len(kept) + 1 :]
    assert kept[1].role == "user"
    assert dropped == len(messages) - len(kept) > 0
    assert size(kept) <= 150
    assert size([*kept, *messages[-len(kept) - 1 : -len(kept) + 1]]) > 150, "one turn more would not have fitted"


def test_the_last_message_stays_however_long() -> None:
    long = ChatMessage.user("word " * 500)
    assert drop_oldest_turns([*conversation(3), long], Words(), 50) == ([conversation(0)[0], long], 7)  # type: ignore[arg-type]
