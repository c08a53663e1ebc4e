import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genaisys.retrieval.support import is_supported

PASSAGES = ["The Vasa sank on 10 August 1628 in the harbour of Stockholm.", "Anders Franzén found the wreck in 1956."]


@pytest.mark.parametrize(
    ("sentence", "supported"),
    [
        ("The Vasa sank in 1628.", True),
        ("It sank in the harbour of Stockholm on 10 August 1628.", True),
        ("The Vasa sank in 1629.", False),  # an invented number
        ("The Vasa sank in the harbour of Gothenburg.", False),  # an invented name
        ("Anders Franzén found the Vasa in 1628.", False),  # put together from two passages
        ("The wreck was eaten by worms and turned into chairs.", False),  # most words are nowhere
        ("Erik found the wreck in 1956.", False),  # an invented name that begins the sentence
        ("However, Anders Franzén found the wreck in 1956 [2].", True),  # "[2]" points, and claims nothing
        ("It is so.", True),  # claims nothing
    ],
)
def test_support(sentence: str, supported: bool) -> None:
    assert is_supported(sentence, PASSAGES) is supported


@settings(deadline=None)
@given(st.text())
def test_text_supports_itself(text: str) -> None:
    assert is_supported(text, [text])


@settings(deadline=None)
@given(st.text(alphabet="abc 12"), st.lists(st.text(alphabet="abc 12"), max_size=3), st.text(alphabet="abc 12"))
def test_more_passages_never_take_support_away(sentence: str, passages: list[str], other: str) -> None:
    assert is_supported(sentence, [*passages, other]) >= is_supported(sentence, passages)
