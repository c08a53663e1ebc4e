"""Chat models: anything that can continue a conversation.

``open_chat_model(name)`` gives the local model for a part name, hub id or folder, and a remote one for
``openai:http://host:port[#model]``.
"""

from genaisys.models.chat.base import ChatModel, ScoresText, open_chat_model
from genaisys.models.chat.history import drop_oldest_turns

__all__ = ["ChatModel", "ScoresText", "drop_oldest_turns", "open_chat_model"]
