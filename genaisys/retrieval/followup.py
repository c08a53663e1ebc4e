"""Follow-up questions, put so that they can be asked without the conversation before them.

Rules, not a model: a small model rewrites questions into other questions. Three kinds of follow-up are known:

    "And in 1990?", "What about the night shift?"   the part takes the place of its counterpart in the last question
    "When?", "How long?"                            the question words take the place of the last question's
    "Where was she born?", "How long is it?"        the pronoun stands for what the last question or answer named
"""

import re
from collections.abc import Sequence

from genaisys.messages import ChatMessage
from genaisys.retrieval.questions import WORD, Question
from genaisys.retrieval.words import STOP_WORDS

_PREPOSITIONS = "in|on|at|for|from|by|with|during|after|before|since|until|of|to|under|about|between|without|as"
_PART = re.compile(r"(?:(?:and|but|or|so)\b,?\s*)?(?:(?:what|how) about\b|and\b|but\b|or\b)\s*,?\s*(?P<rest>.+)", re.I)
_WHOLE = re.compile(  # begins a question that has a verb of its own
    r"(?:who|whom|whose|what|which|when|where|why|how|is|are|was|were|do|does|did|can|could|will|would|should|must|has"
    r"|have|had)\b",
    re.I,
)
_QUESTION_WORDS = re.compile(
    r"(?:(?:in|on|at|for|from|by|with|since|until|to) )?"
    r"(?:who|whom|what time|what|when|where|why"
    r"|how (?:many|much|long|far|old|often|big|large|high|deep|tall|fast)|how)\b",
    re.I,
)
_PERSON = re.compile(r"\b(?P<owner>his|her(?= [a-z]))\b|\b(?:he|she|him|her|hers)\b", re.I)
_THING = re.compile(
    r"\b(?P<owner>its|their)\b|\b(?:they|them|these|those)\b"
    r"|\bit\b(?! takes? to\b| (?:true|possible|allowed|necessary|likely)\b)"
    r"|\b(?:this|that)(?= (?:is|was|happen|mean|work|cost|take)\w*\b|\?|$)"
    r"|(?<!\bis )(?<!\bare )(?<!\bwas )(?<!\bwere )\bthere\b(?! (?:is|are|was|were)\b)",
    re.I,
)
_OWN_NAME = re.compile(r"(?<=\s)[A-Z][\w'’-]+")  # not at the beginning
_NAME = re.compile(r"\b[A-Z][\w'’-]*(?: (?:of |de |van |von )?[A-Z][\w'’-]*)*")
_DETERMINERS = frozenset({"the", "a", "an", "our", "your", "my"})
_PARTICIPLE = re.compile(r"\w+ed|\w+en|built|made|held|found|sold|kept|born|lost|set|put|won|paid|sent|told|led|called")
_MAIN_VERB_FOLLOWS = re.compile(r"\b(?:do|does|did|can|could|will|would|should|must|may|might)\b", re.I)


def standalone_question(question: str, history: Sequence[ChatMessage]) -> str:
    """``question`` with all that it leaves to the conversation before it, or as it is if it stands alone."""
    asked = answer = ""
    for message in history:
        if message.role == "user":
            asked, answer = _resolve(message.text.strip(), asked, answer), ""
        elif message.role == "assistant":
            answer = message.text.strip()
    return _resolve(question.strip(), asked, answer)


def _resolve(question: str, asked: str, answer: str) -> str:
    """``question`` after the standalone question ``asked`` and its ``answer``."""
    if not asked:
        return question
    if part := _PART.fullmatch(question):
        if not _WHOLE.match(part["rest"]):
            return _with_part(asked, part["rest"].rstrip("?!. "))
        question = part["rest"][0].upper() + part["rest"][1:]
    bare = _QUESTION_WORDS.match(question)
    if bare and not re.search(r"\w", question[bare.end() :]):
        return _with_question_words(asked, bare[0])
    return _without_pronouns(question, asked, answer)


def _with_part(asked: str, part: str) -> str:
    """``asked``, with ``part`` in the place of what is like it, or else at its end."""
    asked = asked.rstrip("?!. ")
    if preposition := re.match(rf"(?:{_PREPOSITIONS})\b", part, re.I):
        alike = re.search(rf"\b{preposition[0]} (?:(?:the|a|an|this|that) )?[^\s,]+", asked, re.I)
        span = alike.span() if alike else None
    elif _NAME.match(part) and (names := [name for name in _NAME.finditer(asked) if name.start()]):
        span = names[-1].span()
    else:
        phrases = _phrases(asked)
        span = phrases[-1] if phrases else None
    if span:
        return f"{asked[: span[0]]}{part}{asked[span[1] :]}?"
    return f"{asked} {part}?"


def _with_question_words(asked: str, words: str) -> str:
    """``asked``, with ``words`` in the place of its question words."""
    begins = _QUESTION_WORDS.match(asked)
    return f"{words} {asked[begins.end() if begins else 0 :].strip()}"


def _without_pronouns(question: str, asked: str, answer: str) -> str:
    for pronoun, referent in ((_PERSON, _person(asked, answer)), (_THING, _thing(asked, answer))):
        match = pronoun.search(question)
        if not match or not referent or _OWN_NAME.search(question[: match.start()]):
            continue  # nothing to replace, or the question itself says what is meant
        possessive = "'s" if match["owner"] else ""
        question = f"{question[: match.start()]}{referent}{possessive}{question[match.end() :]}"
    return question


def _person(asked: str, answer: str) -> str:
    if re.search(r"\bwho(?:m|se)?\b", asked, re.I) and (name := _NAME.match(answer)) and _is_short(answer):
        return name[0]
    names = [name[0] for name in _NAME.finditer(asked) if name.start()]
    return names[0] if names else _thing(asked, "")


def _thing(asked: str, answer: str) -> str:
    if (
        re.match(r"(?:which|what) [a-z]", asked, re.I)
        and Question(asked).head
        and _NAME.match(answer)
        and _is_short(answer)
    ):
        return answer.rstrip(".")
    phrases = _phrases(asked)
    return asked[slice(*phrases[0])] if phrases else ""


def _is_short(answer: str) -> bool:
    return len(answer.split()) <= 6


def _phrases(question: str) -> list[tuple[int, int]]:
    """Spans of what seem to be noun phrases with a determiner or a name ("the ferry Petrel"), or of the last words."""
    begins = _QUESTION_WORDS.match(question)
    words = [match for match in WORD.finditer(question) if not begins or match.start() >= begins.end()]
    runs: list[list[re.Match[str]]] = [[]]
    for word in words:
        text = word[0].lower()
        if text in _DETERMINERS:
            runs.append([word])
        elif text in STOP_WORDS:
            runs.append([])
        else:
            runs[-1].append(word)
    spans = []
    for run in runs:
        content = [word for word in run if word[0].lower() not in _DETERMINERS]
        if not content:
            continue
        last = len(content)
        capitals = [word[0][0].isupper() for word in content]
        if any(capitals):  # up to the end of the first name
            first = capitals.index(True)
            last = next((place for place in range(first, last) if not capitals[place]), last)
        elif (
            last > 1
            and run[-1] is words[-1]
            and (_MAIN_VERB_FOLLOWS.search(question[: run[0].start()]) or _PARTICIPLE.fullmatch(content[-1][0]))
        ):
            last -= 1
        if any(capitals) or run[0][0].lower() in _DETERMINERS:
            spans.append((run[0].start(), content[last - 1].end()))
    if not spans and runs[-1]:
        spans.append((runs[-1][0].start(), runs[-1][-1].end()))
    return spans
