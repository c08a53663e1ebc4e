"""Conversations that have grown longer than a model reads."""

from collections.abc import Sequence

from genaisys.messages import ChatMessage
from genaisys.models.chat.base import ChatModel

_TURN_TOKENS = 16  # of the chat template around one message, from above


def drop_oldest_turns(
    messages: Sequence[ChatMessage], model: ChatModel, max_tokens: int
) -> tuple[list[ChatMessage], int]:
    """The conversation without as many of its oldest turns as leave room for a reply of ``max_tokens`` tokens.

    System messages stay, and so does the last message, however long; a conversation never begins with a reply.

    Returns:
        the messages that are kept, and how many were dropped: tell the user.
    """
    system = [message for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    room = model.context_length - max_tokens - sum(_size(message, model) for message in system)
    kept: list[ChatMessage] = []
    for message in reversed(turns):
        room -= _size(message, model)
        if room < 0 and kept:
            break
        kept.insert(0, message)
    while len(kept) > 1 and kept[0].role != "user":
        kept.pop(0)
    return [*system, *kept], len(turns) - len(kept)


def _size(message: ChatMessage, model: ChatModel) -> int:
    return model.count_tokens(message.text) + _TURN_TOKENS
