"""Text as terms: what lexical search matches.

A term is a stem, and its id is a 32-bit hash of that stem. So the ids of a passage depend on nothing but its text:
there is no vocabulary to store, to lock or to keep in step. Among a million different stems a given term shares its id
with another once in four thousand times, and then a search sees a few spurious matches.
"""

import re
import unicodedata
import zlib
from functools import lru_cache
from threading import Lock

import numpy as np
import numpy.typing as npt
import Stemmer

# A number keeps its decimal point and loses its thousands separators; an apostrophe stays inside a word, where the
# stemmer takes off "'s"; scripts written without spaces (Han, kana, Thai, Lao, Khmer, Burmese) give one term per
# character; hyphens, underscores and dots separate, so that well-known, max_length and os.path are found by parts.
_WORD = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
    r"|\d+(?:,\d{3})+(?:\.\d+)?(?![^\W_])"
    r"|\d+(?:\.\d+)+(?![^\W_])"
    r"|[^\W_]+(?:['’][^\W\d_]+)?"
)

# Function words, question words and auxiliaries. A stop word can only be matched by its neighbours.
_FUNCTION_WORDS = """
    a about all also am an and any are as at be been being but by can could did do does doing done each for from had has
    have having he her him his how i if in into is it its just may me might must my no not of on or other our own same
    shall she should so some such than that the their them then there these they this those to too very was we were what
    when where which while who whom whose why will with would you your
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())

_stemmer = Stemmer.Stemmer("english", 0)
_stemmer_lock = Lock()  # a stemmer holds a buffer and must not be used by two threads at once


def split(text: str) -> list[str]:
    """The words of ``text`` in order, in lower case and without accents."""
    text = text.lower()
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
        text = unicodedata.normalize("NFC", text)
    return _WORD.findall(text)


@lru_cache(maxsize=1 << 17)
def term_id(word: str) -> int:
    """The id of a word that :func:`split` gave: the CRC-32 of its stem."""
    if word[0].isdigit():
        word = word.replace(",", "")
    with _stemmer_lock:
        stem = _stemmer.stemWord(word.replace("’", "'"))
    return zlib.crc32(stem.encode())


def term_ids(text: str) -> npt.NDArray[np.uint32]:
    """The terms of ``text`` in order, stop words included. -> [T]"""
    words = split(text)
    return np.fromiter(map(term_id, words), np.uint32, len(words))


_STOP_IDS = np.unique(np.fromiter(map(term_id, STOP_WORDS), np.uint32))


def is_stop(ids: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Which terms are stop words: they count only beside a content word (see ``ranking``). [T] -> [T]"""
    nearest = np.searchsorted(_STOP_IDS, ids).clip(max=len(_STOP_IDS) - 1)
    return _STOP_IDS[nearest] == ids
