"""Source code: one block per definition at the outer level."""

import re

from genaisys.retrieval.readers.draft import Draft, clean
from genaisys.retrieval.readers.encoding import decode

_OUTER_BREAK = re.compile(r"\n\s*\n(?=[^\s})\]])")  # blank lines before a line that is not indented


def read_code(content: bytes) -> Draft:
    draft = Draft()
    for piece in _OUTER_BREAK.split(clean(decode(content)).expandtabs(4)):
        draft.code(piece)
    return draft
