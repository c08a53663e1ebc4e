"""Where the sentences of a text begin and end.

One pass of a regular expression finds everything that may end a sentence. A few rules, in the spirit of Kiss and
Strunk, "Unsupervised Multilingual Sentence Boundary Detection" (2006), decide about full stops: what stands before the
stop (an abbreviation, an initial, an enumerator), and what follows it.
"""

import re

# Stops of all scripts with the marks that close a quotation or a bracket, or a single line break.
_CANDIDATE = re.compile(
    r"""[.!?…。！？｡।؟۔\n](?:(?<!\n)[.!?…。！？｡।؟۔]*+["'”’»›)\]}」』）］】*_]*+(?:\[\d{1,3}\])*+)?+"""
)
_NEW_PARAGRAPH = re.compile(r"\n[^\S\n]*+(?:\n|(?:[-*+•‣◦▪●–—]|\(?(?:\d{1,3}|[a-zA-Z])[.)])[^\S\n])")
_NEXT_WORD = re.compile(r"""\s*+["'“‘«‹(\[{「『（¿¡*_]*+([\w'’]*+[._(]?)""")
_STOPS_WITHOUT_SPACE = frozenset("。！？｡।")  # scripts that write no space between sentences
_OPENING = "([{\"'“‘«‹*_"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Abbreviations, lower case without their last stop.
_NEVER_LAST = _words(
    "dr mr mrs ms mx messrs prof st mt ft gen col lt capt cmdr sgt maj rev hon gov sen rep pres fr e.g i.e eg ie vs v"
    " cf viz ca approx resp incl esp dept univ assn bros ed eds trans dipl herr mme mlle z.b d.h bzw"
)
_BEFORE_NUMBER = _words(
    "no nos nr fig figs eq eqs sec secs sect vol vols ch chap p pp par art app tab ref refs ver tel ext rm bldg c"
    " jan feb mar apr jun jul aug sep sept oct nov dec"
)
_SOMETIMES_LAST = _words(
    "inc ltd co corp jr sr al u.s u.s.a u.k u.n e.u d.c a.m p.m a.d b.c ph.d m.d b.a m.a b.sc m.sc ave blvd rd"
    " jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun"
)
# Words that begin sentences far more often than names: after "U.S." or an initial they tell a new sentence.
_STARTERS = _words(
    "a after all also although an and another any are as at because before but by can did do does during each even"
    " every finally first for from had has have he her here his how however i if in instead is it its later many"
    " meanwhile more most much my no not nothing now of on once one only or other our she since so some soon still such"
    " than that the their then there therefore these they this those though thus to today two until was we were what"
    " when where whether which while who why will with yet you your"
)


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """The spans ``(start, end)`` of the sentences of ``text``, in order.

    Spans have no white space at their ends, do not overlap, and cover every other character. A blank line or a list
    marker at the beginning of a line ends a sentence; any other line break does not.
    """
    spans: list[tuple[int, int]] = []
    start = _skip_space(text, 0)
    for candidate in _CANDIDATE.finditer(text):
        if candidate.start() < start:  # inside the white space that was skipped
            continue
        end = candidate.end()
        if text[candidate.start()] == "\n":
            end = candidate.start()
            if not _NEW_PARAGRAPH.match(text, end):
                continue
        elif not _ends_sentence(text, start, candidate.start(), end):
            continue
        spans.append((start, _strip_space(text, start, end)))
        start = _skip_space(text, end)
    if start < len(text):
        spans.append((start, _strip_space(text, start, len(text))))
    return spans


def _ends_sentence(text: str, start: int, stop: int, end: int) -> bool:
    """Whether the stop at ``text[stop:end]`` ends the sentence that begins at ``start``."""
    if text[stop] in _STOPS_WITHOUT_SPACE or end == len(text):
        return True
    if not text[end].isspace():
        return False
    following = _NEXT_WORD.match(text, end)
    word = following[1] if following else ""
    if word and word[0].islower() and word[-1] not in "._(":  # a name such as ``os.path`` may begin a sentence
        return False
    if text[stop] != "." or text.startswith("..", stop):
        return True
    before = text[max(start, stop - 14) : stop].rsplit(None, 1)[-1:]
    last = before[0].lstrip(_OPENING) if before else ""
    if stop - start <= 4 and (last.isdigit() or len(last) == 1):  # an enumerator: "12." or "b."
        return False
    return not _is_abbreviation(last, word)


def _is_abbreviation(last: str, following: str) -> bool:
    """Whether the stop after the word ``last`` belongs to it and the sentence goes on with the word ``following``."""
    key = last.lower()
    if key in _BEFORE_NUMBER and (following[:1].isdigit() or (len(following) == 1 and key != "no")):
        return True
    if key in _NEVER_LAST:
        return True
    initial = len(last) == 1 and last.isupper()
    return (initial or key in _SOMETIMES_LAST) and following.lower() not in _STARTERS and bool(following)


_SPACE = re.compile(r"\s*+")


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _strip_space(text: str, start: int, end: int) -> int:
    while end > start and text[end - 1].isspace():
        end -= 1
    return end
