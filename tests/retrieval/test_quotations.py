from passages import hit

from genaisys.retrieval.questions import Question
from genaisys.retrieval.quotations import (
    REFUSE_BELOW,
    choose_quotations,
    missing_names,
    probability_of_answer,
    rank_sentences,
)

VASA = "The Vasa was a Swedish warship. She sank on 10 August 1628. Her wreck was found by Anders Franzén."


def ranked(question: str, *hits):
    return rank_sentences(Question(question), hits)


def test_quotation_is_the_text_at_its_span() -> None:
    document = "Some heading.\n\n" + VASA
    for quotation in ranked("When did the Vasa sink?", hit(VASA, start=15)):
        assert document[quotation.start : quotation.end] == quotation.text


def test_expected_kind_decides_between_equally_similar_sentences() -> None:
    passages = [hit(f"The ship sank {how}.", source=how) for how in ("quickly", "in 1628", "under Anders Franzén")]
    assert ranked("When did the ship sink?", *passages)[0].text == "The ship sank in 1628."
    assert ranked("Under whom did the ship sink?", *passages)[0].text == "The ship sank under Anders Franzén."


def test_similarity_decides_between_sentences_with_the_same_words() -> None:
    text = "The red lamp hums. The red lamp glows."
    assert ranked("lamp noise", hit(text, [0.3, 0.2]))[0].text == "The red lamp hums."
    assert ranked("lamp noise", hit(text, [0.2, 0.3]))[0].text == "The red lamp glows."


def test_words_of_neighbours_and_headings_count_for_a_sentence_that_only_says_it() -> None:
    question = "How long is the notice period of the tenancy?"
    plain, below_heading = hit("It is three months."), hit("It is three months.", context="Tenancy > Notice period")
    assert ranked(question, below_heading)[0].score > ranked(question, plain)[0].score
    after = hit("The tenancy has a notice period. It is three months.")
    alone = hit("Nothing is said. It is three months.")
    scores = {
        name: next(q.score for q in ranked(question, h) if q.text == "It is three months.")
        for name, h in {"after": after, "alone": alone}.items()
    }
    assert scores["after"] > scores["alone"]


def test_a_row_is_explained_by_its_header_and_not_by_the_row_beside_it() -> None:
    table = "Code | What to do\n\nE12 | Press Home\n\nE27 | Check the coolant\n\nE33 | Stop the dome"
    assert ranked("What to do when code E27 appears?", hit(table))[0].text == "E27 | Check the coolant"


def test_a_rare_term_and_a_name_count_more_than_a_common_term() -> None:
    lamps = [hit(f"The lamp {word} well.", source=word) for word in ("glows", "shines", "works", "hangs")]
    assert ranked("lamp flickers", *lamps, hit("It flickers a bit."))[0].text == "It flickers a bit."
    buoys = [hit(text, source=text) for text in ("The buoys float.", "Eelgrass floats.")]
    assert ranked("the buoys Eelgrass", *buoys)[0].text == "Eelgrass floats."


def test_at_most_three_quotations_and_none_twice() -> None:
    same = [hit("The lamp is red.", source=f"{n}.txt") for n in range(3)]
    other = hit("The lamp was bought by Ada. It hums at night. It weighs two kilograms. It is old.", 0.4)
    chosen = choose_quotations(ranked("Which colour has the lamp?", *same, other))
    assert len(chosen) == 3
    assert [quotation.text for quotation in chosen].count("The lamp is red.") == 1


def test_passage_without_sentences_is_quoted_whole() -> None:
    passage = hit("")
    code = type(passage.chunk)("a.py", 0, "limit = 3", 10, 19)
    (quotation,) = ranked("What is the limit?", type(passage)(code, 0.5, (0.5,)))
    assert (quotation.text, quotation.start, quotation.end) == ("limit = 3", 10, 19)


def test_probability_of_answer_grows_with_the_evidence() -> None:
    question = Question("When did the Vasa sink?")
    probabilities = [
        probability_of_answer(question, rank_sentences(question, [hit(text, similarity)]))
        for text, similarity in (("Bread needs salt.", 0.0), ("Ships sink.", 0.3), (VASA, 0.7))
    ]
    assert probabilities == sorted(probabilities)
    assert probabilities[0] < REFUSE_BELOW < probabilities[-1]
    assert probability_of_answer(question, []) == 0.0


def test_a_name_that_the_passage_does_not_know_speaks_against_an_answer() -> None:
    passage = hit(VASA, 0.6)
    known, unknown = Question("When did the ship Vasa sink?"), Question("When did the ship Kronan sink?")
    assert missing_names(known, passage.chunk) == 0
    assert missing_names(unknown, passage.chunk) == 1
    assert missing_names(unknown, hit(VASA, context="Wrecks > Kronan").chunk) == 0
    assert probability_of_answer(unknown, rank_sentences(unknown, [passage])) < probability_of_answer(
        known, rank_sentences(known, [passage])
    )
