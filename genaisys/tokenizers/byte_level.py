"""Byte-level tokens: whatever is not in a vocabulary is written as bytes, so that no text is ever lost.

As in GPT-2 a text is written with 256 printable stand-ins, one for each byte of its UTF-8, and tokens are strings of
them. ASCII stands for itself, except for white space and control characters.
"""

from functools import cache


def to_stand_ins(text: str) -> str:
    """``text`` as byte-level tokens are written."""
    return "".join(map(_stand_ins().__getitem__, text.encode()))


def token_bytes(token: str) -> bytes:
    """The bytes that a byte-level token stands for; added tokens, which are written plainly, are encoded."""
    try:
        return bytes(map(_bytes().__getitem__, token))
    except KeyError:
        return token.encode()


@cache
def _stand_ins() -> dict[int, str]:
    """Bytes that are printable in Latin-1 stand for themselves, the others are numbered from U+0100 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


@cache
def _bytes() -> dict[str, int]:
    return {character: byte for byte, character in _stand_ins().items()}
