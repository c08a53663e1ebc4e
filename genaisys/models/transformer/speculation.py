"""Prompt lookup: guess that the text goes on as it has gone on before (Saxena 2023; Yang et al., arXiv:2304.04487).

Answers about a document repeat it. Where the last tokens have stood together before, what followed them there is read
along with the last token in the same step; the model then keeps what it would have said itself. The text is the same
with and without, there are only fewer steps.
"""

from collections.abc import Sequence

_SHORTEST = 2  # tokens that must have stood together
_SURE = 6  # so many make a copied passage, of which more is guessed


class PromptLookup:
    """Guesses for one sequence, which it follows as it grows."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # the place after the last time that these tokens stood together

    def extend(self, tokens: Sequence[int]) -> None:
        """The sequence has grown."""
        for token in tokens:
            if len(self._tokens) >= _SHORTEST:  # the ending so far has a follower now
                self._after[tuple(self._tokens[-_SHORTEST:])] = len(self._tokens)
            self._tokens.append(token)

    def guess(self, most: int) -> list[int]:
        """What may come next, at most ``most`` tokens."""
        tokens = self._tokens
        place = self._after.get(tuple(tokens[-_SHORTEST:])) if len(tokens) > _SHORTEST else None
        if place is None:
            return []
        same = _SHORTEST
        while same < _SURE and same < place and tokens[place - 1 - same] == tokens[-1 - same]:
            same += 1
        return tokens[place : place + min(most, 3 if same >= _SURE else 1)]
