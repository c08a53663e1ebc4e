"""Prompts for the language model: real English, from the paragraphs of SQuAD 1.1 dev, never the same twice."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import squad

from genaisys.tokenizers import Tokenizer


def passages(tokenizer: Tokenizer, lengths: Sequence[int], seed: int = 0) -> Iterator[list[int]]:
    """Passages of so many tokens, in the order of ``lengths``, over and over: paragraphs side by side, in any order."""
    paragraphs, _ = squad.load()
    order = np.random.default_rng(seed).permutation(len(paragraphs))
    tokens = (token for i in order for token in tokenizer.encode(paragraphs[i].text + "\n\n"))
    while True:
        for length in lengths:
            passage = list(islice(tokens, length))
            if len(passage) < length:
                return
            yield passage


def questions(tokenizer: Tokenizer, request: str, length: int, seed: int = 0) -> Iterator[list[int]]:
    """Chats of about ``length`` tokens: paragraphs, its own among them, and the question; 0 for its own alone."""
    paragraphs, asked = squad.load()
    sizes = [len(tokenizer.encode(paragraph.text)) + 1 for paragraph in paragraphs]
    random = np.random.default_rng(seed)
    for i in random.permutation(len(asked)):
        room = length - 80  # for the template and the request
        texts = []
        for number in [asked[i].paragraph, *random.permutation(len(paragraphs))]:
            if sizes[number] <= room:
                texts.append(paragraphs[number].text)
                room -= sizes[number]
        random.shuffle(texts)
        if not length or paragraphs[asked[i].paragraph].text in texts:
            content = "\n\n".join([*texts, f"{request}\n{asked[i].text}"])
            yield tokenizer.encode_chat([{"role": "user", "content": content}])
