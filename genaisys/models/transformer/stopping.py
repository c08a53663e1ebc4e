"""Ending a text where a stop text begins, also where that lies across the border of two tokens."""

from collections.abc import Sequence


class StopTexts:
    """Lets text through, and holds back what may turn out to be the beginning of a stop text."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._held = ""
        self.found = False

    def push(self, piece: str) -> str:
        """What may be shown now that ``piece`` has come; after ``found`` nothing more may."""
        self._held += piece
        found = [(at + len(text), at) for text in self._texts if (at := self._held.find(text)) >= 0]
        if found:
            self.found = True
            _, begin = min(found)  # of the one that is whole first, as if the text had come letter by letter
            shown, self._held = self._held[:begin], ""
            return shown
        begun = max((_overlap(self._held, text) for text in self._texts), default=0)
        cut = len(self._held) - begun
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def finish(self) -> str:
        """What was held back, when no more comes."""
        shown, self._held = self._held, ""
        return shown


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of ``text`` that ``stop`` begins with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
