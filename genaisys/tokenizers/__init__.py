"""Tokenizers: characters, byte-level BPE, SMILES. All are saved as ``tokenizer.json``."""

from genaisys.tokenizers.base import SPECIAL_TOKENS, Tokenizer, TokenizerBroken, VocabularyTooSmall
from genaisys.tokenizers.bpe import train_bpe
from genaisys.tokenizers.character import character_tokenizer
from genaisys.tokenizers.chat_template import ChatTemplateFailed
from genaisys.tokenizers.smiles import smiles_tokenizer, train_smiles_bpe
from genaisys.tokenizers.streaming import TextStream

__all__ = [
    "SPECIAL_TOKENS",
    "ChatTemplateFailed",
    "TextStream",
    "Tokenizer",
    "TokenizerBroken",
    "VocabularyTooSmall",
    "character_tokenizer",
    "smiles_tokenizer",
    "train_bpe",
    "train_smiles_bpe",
]
