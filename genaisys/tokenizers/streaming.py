"""Text from tokens that arrive one by one: a character may take several tokens, and is given when it is whole."""

import codecs

from tokenizers import Tokenizer as Backend
from tokenizers import decoders

from genaisys.tokenizers.byte_level import token_bytes


class TextStream:
    """Decodes a sequence of tokens as it grows. For one reader; make one for each sequence.

    What it gives, joined, is what :meth:`Tokenizer.decode` gives for all the tokens, less a character at the end that
    is not whole. Byte-level tokenizers do so for any tokens whatever. Others do for the tokens of a text; where a model
    writes bytes that are no UTF-8 they decode the past anew, which a stream cannot take back.
    """

    def __init__(self, backend: Backend, skipped: frozenset[int]) -> None:
        """For tokens of ``backend``, without those whose ids are ``skipped``."""
        self._backend = backend
        self._skipped = skipped
        # The bytes of a token do not depend on its neighbours here, so nothing has to be decoded twice.
        byte_level = isinstance(backend.decoder, decoders.ByteLevel)
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace") if byte_level else None
        self._context = decoders.DecodeStream(skip_special_tokens=False)

    def push(self, token: int) -> str:
        """The characters that ``token`` completes: none in the middle of a character, and for a skipped token."""
        if token in self._skipped:
            return ""
        if self._bytes is not None:
            return self._bytes.decode(token_bytes(self._backend.id_to_token(token) or ""))
        try:
            return self._context.step(self._backend, token) or ""
        except Exception:  # "Invalid prefix": the past would read otherwise now, so begin anew
            self._context = decoders.DecodeStream(skip_special_tokens=False)
            return self._context.step(self._backend, token) or ""
