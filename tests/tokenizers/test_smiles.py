"""Molecules: a token an atom, BPE that never tears one apart, and nothing lost."""

import json
from collections.abc import Callable
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaisys.tokenizers import SPECIAL_TOKENS, Tokenizer, VocabularyTooSmall, smiles_tokenizer, train_smiles_bpe

DRUGS = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "ibuprofen": "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O",
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "penicillin G": "CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O",
    "morphine": "CN1CC[C@]23c4c5ccc(O)c4O[C@H]2[C@@H](O)C=C[C@H]3[C@H]1C5",
    "metformin": "CN(C)C(=N)NC(=N)N",
    "diazepam": "CN1C(=O)CN=C(c2ccccc2)c2cc(Cl)ccc21",
    "chlorpromazine": "CN(C)CCCN1c2ccccc2Sc2ccc(Cl)cc21",
    "bromocriptine's ring": "Brc1[nH]c2cccc3c2c1C[C@@H]1C3=C[C@H](CN1C)C(N)=O",
    "omeprazole": "COc1ccc2[nH]c(nc2c1)S(=O)Cc1ncc(C)c(OC)c1C",
    "sildenafil": "CCCc1nn(C)c2c1nc([nH]c2=O)-c1cc(ccc1OCC)S(=O)(=O)N1CCN(C)CC1",
    "cisplatin": "[NH3][Pt]([NH3])(Cl)Cl",
    "cisplatin's stereo": "[NH3][Pt@SP1]([NH3])(Cl)Cl",
    "sodium benzoate": "[Na+].[O-]C(=O)c1ccccc1",
    "choline chloride": "C[N+](C)(C)CCO.[Cl-]",
    "betaine": "C[N+](C)(C)CC(=O)[O-]",
    "trinitrin": "O=[N+]([O-])OCC(CO[N+](=O)[O-])O[N+](=O)[O-]",
    "fluorodeoxyglucose": "OC[C@H]1OC(O)[C@H]([18F])[C@@H](O)[C@@H]1O",
    "heavy water": "[2H]O[2H]",
    "labelled glycine": "[15NH2][13CH2]C(=O)O",
    "iodine-131": "[131I-].[Na+]",
    "tamoxifen": "CC/C(=C(/c1ccccc1)\\c1ccc(OCCN(C)C)cc1)c1ccccc1",
    "retinal": "CC1=C(C(C)(C)CCC1)/C=C/C(C)=C/C=C/C(C)=C/C=O",
    "selenomethionine": "C[Se]CC[C@H](N)C(=O)O",
    "selenophene": "c1cc[se]c1",
    "bortezomib": "CC(C)C[C@H](NC(=O)[C@@H](Cc1ccccc1)NC(=O)c1cnccn1)B(O)O",
    "azidothymidine": "Cc1cn([C@H]2C[C@H](N=[N+]=[N-])[C@@H](CO)O2)c(=O)[nH]c1=O",
    "phenobarbital": "CCC1(c2ccccc2)C(=O)NC(=O)NC1=O",
    "propargylamine": "C#CCN(C)[C@H](C)Cc1ccccc1",
    "iron": "[Fe+3].[Fe++].[Fe+2]",
    "rings above nine": "C%10CCCCC%10.C%(100)CC%(100)C%99CC%99",
    "mapped reaction": "[CH3:1][C:2](=[O:3])O>[OH-:4].[*:5]>[CH3:1][C:2](=[O:3])[O-]",
    "dimolybdenum": "[Mo]$[Mo]~*",
    "phosphate": "OP(=O)(O)O",
    "iodide": "ICI",
}


def symbols(smiles: str) -> list[str]:
    """The symbols of valid SMILES, read letter by letter."""
    found: list[str] = []
    at = 0
    while at < len(smiles):
        if smiles[at] == "[":
            end = smiles.index("]", at) + 1
        elif smiles[at] == "%":
            end = smiles.index(")", at) + 1 if smiles[at + 1] == "(" else at + 3
        else:
            end = at + (2 if smiles[at : at + 2] in ("Cl", "Br") else 1)
        found.append(smiles[at:end])
        at = end
    return found


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.decode([token]) for token in tokenizer.encode(text)]


@pytest.fixture(scope="module")
def atoms() -> Tokenizer:
    return smiles_tokenizer(DRUGS.values())


@pytest.fixture(scope="module")
def pairs() -> Tokenizer:
    return train_smiles_bpe([*DRUGS.values()] * 2, vocabulary_size=700)


def test_the_reading_letter_by_letter() -> None:
    assert symbols("C[C@@H](Cl)Br%10%(123)1") == ["C", "[C@@H]", "(", "Cl", ")", "Br", "%10", "%(123)", "1"]


@pytest.mark.parametrize("smiles", DRUGS.values(), ids=DRUGS)
def test_every_symbol_of_a_drug_is_one_token(atoms: Tokenizer, smiles: str) -> None:
    assert pieces(atoms, smiles) == symbols(smiles)


def test_different_symbols_have_different_tokens(atoms: Tokenizer) -> None:
    every = {symbol for smiles in DRUGS.values() for symbol in symbols(smiles)}
    assert len({atoms.encode(symbol)[0] for symbol in every}) == len(every)
    long = {symbol for symbol in every if len(symbol) > 1}
    assert atoms.vocabulary_size == 260 + len(long)


def test_frequent_symbols_come_first() -> None:
    tokenizer = smiles_tokenizer(["[NH3+]", "[nH][nH]", "[O-][O-][O-]"])
    assert [tokenizer.decode([token]) for token in range(260, 265)] == ["[O-]", "[nH]", "[NH3+]", "Cl", "Br"]


def test_rare_symbols_can_be_left_out() -> None:
    tokenizer = smiles_tokenizer(["[nH][nH]", "[O-]"], min_frequency=2)
    assert pieces(tokenizer, "[nH][O-]") == ["[nH]", "[", "O", "-", "]"]


def test_symbols_that_were_not_seen_are_written_in_characters(atoms: Tokenizer) -> None:
    assert pieces(atoms, "C[13CH3-]%57") == ["C", *"[13CH3-]", *"%57"]
    assert pieces(atoms, "[Cl+9]") == list("[Cl+9]")


def test_no_vocabulary_grows_from_what_is_no_smiles() -> None:
    junk = ["[hello world]", "[", "%", "%1", "]]", "[[C]", "[1234567C]", "[C+++++]", "<|eos|>", "é"]
    assert smiles_tokenizer(junk * 9).vocabulary_size == 260 + 3  # [C], Cl, Br
    tokenizer = train_smiles_bpe([f"{text} " for text in junk] * 9, vocabulary_size=1000)
    assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in junk)


@pytest.mark.parametrize("train", [smiles_tokenizer, train_smiles_bpe])
def test_special_tokens_in_the_corpus_stay_data(train: Callable[[list[str]], Tokenizer]) -> None:
    tokenizer = train(["".join(SPECIAL_TOKENS.values())] * 50)
    for token in SPECIAL_TOKENS.values():
        assert tokenizer.special_ids.isdisjoint(tokenizer.encode(token))
        assert tokenizer.decode(tokenizer.encode(token)) == token


KNOWN = sorted({symbol for smiles in DRUGS.values() for symbol in symbols(smiles)})
UNSEEN = ["[13CH3-]", "[CH2:77]", "%57", "%(1234)", "[Xe]", "[Cl+4]", "[OH2+]", "[C@TH1H]"]
MOLECULES = st.lists(st.sampled_from([*KNOWN, *"CCCccc()=O1", *UNSEEN]))


@given(molecule=MOLECULES)
def test_atoms_of_any_molecule_are_whole_or_in_characters(atoms: Tokenizer, molecule: list[str]) -> None:
    expected = [piece for symbol in molecule for piece in ([symbol] if symbol in KNOWN else symbol)]
    assert pieces(atoms, "".join(molecule)) == expected


@given(molecule=MOLECULES)
def test_merges_never_tear_a_symbol_apart(pairs: Tokenizer, molecule: list[str]) -> None:
    """Every token is some whole symbols, or lies inside a symbol that was not seen."""
    starts = [0, *accumulate(map(len, molecule))]
    inside = {
        at: (start, end)
        for symbol, (start, end) in zip(molecule, pairwise(starts), strict=True)
        for at in range(start + 1, end)
        if symbol in UNSEEN
    }
    for start, end in pairwise([0, *accumulate(map(len, pieces(pairs, "".join(molecule))))]):
        if start in inside:
            assert end <= inside[start][1]
        elif end in inside:
            assert start >= inside[end][0]
        else:
            assert {start, end} <= set(starts)


def merges_of_symbols(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    merges = [tuple(merge) for merge in json.loads(tokenizer.backend.to_str())["model"]["merges"]]
    first = next(n for n, (left, right) in enumerate(merges) if not _makes_a_symbol(left, right))
    return merges[first:]


def _makes_a_symbol(left: str, right: str) -> bool:
    return left + right in ("Cl", "Br") or (left[0] in "[%" and left not in KNOWN)


@given(molecule=st.lists(st.sampled_from([*KNOWN, *"CCCccc()=O1"])))
def test_merges_are_applied_in_the_order_in_which_they_were_learnt(pairs: Tokenizer, molecule: list[str]) -> None:
    """Against byte-pair encoding written out, over a list of symbols."""
    tokens = list(molecule)
    for left, right in merges_of_symbols(pairs):
        at = 0
        while at < len(tokens) - 1:
            if (tokens[at], tokens[at + 1]) == (left, right):
                tokens[at : at + 2] = [left + right]
            at += 1
    assert pieces(pairs, "".join(molecule)) == tokens


def test_the_first_merges_are_the_most_frequent_pairs() -> None:
    tokenizer = train_smiles_bpe(["[nH][O-]"] * 3 + ["C[O-]", "CCl[O-]", "NCCl"])
    assert merges_of_symbols(tokenizer) == [("[nH]", "[O-]"), ("C", "Cl")]
    assert pieces(tokenizer, "C[nH][O-]CCl[O-]") == ["C", "[nH][O-]", "CCl", "[O-]"]


def test_molecules_get_shorter(atoms: Tokenizer, pairs: Tokenizer) -> None:
    for smiles in DRUGS.values():
        assert len(pairs.encode(smiles)) <= len(atoms.encode(smiles))
    assert sum(map(len, pairs.encode_batch([*DRUGS.values()]))) < 0.4 * sum(map(len, map(symbols, DRUGS.values())))
    assert pairs.encode("c1ccccc1")[1:] == []


@pytest.mark.parametrize("size", [450, 500, 600])
def test_the_vocabulary_has_the_wanted_size(size: int) -> None:
    assert train_smiles_bpe([*DRUGS.values()] * 2, vocabulary_size=size).vocabulary_size == size


def test_rare_pairs_are_not_merged() -> None:
    assert merges_of_symbols(train_smiles_bpe(["CN"] * 5 + ["CO"] * 4, min_frequency=5)) == [("C", "N")]
    assert pieces(train_smiles_bpe(["[nH]"] * 4, min_frequency=5), "[nH]") == list("[nH]")


def test_a_vocabulary_without_room_for_the_symbols_is_refused() -> None:
    with pytest.raises(VocabularyTooSmall, match="261"):
        train_smiles_bpe(["CCl"], vocabulary_size=261)
    assert train_smiles_bpe(["CCl"] * 2, vocabulary_size=262).vocabulary_size == 262


@given(text=st.text(), corpus=st.lists(st.text()))
def test_nothing_is_lost_whatever_it_learnt_from(text: str, corpus: list[str]) -> None:
    for tokenizer in (smiles_tokenizer(corpus), train_smiles_bpe(corpus, min_frequency=1)):
        for some in (text, *corpus):
            assert tokenizer.decode(tokenizer.encode(some)) == some


@given(text=st.text("[]%()ClBrnH@+-:013 é\U000f0000"))
def test_what_is_nearly_smiles_is_not_lost(atoms: Tokenizer, pairs: Tokenizer, text: str) -> None:
    assert atoms.decode(atoms.encode(text)) == pairs.decode(pairs.encode(text)) == text


def test_long_texts_are_read(atoms: Tokenizer, pairs: Tokenizer) -> None:
    for text in ("C" * 300_000, "[" * 300_000, "C[nH]" * 50_000, "%" * 300_000, "[13CH3-]" * 40_000):
        assert atoms.decode(atoms.encode(text)) == pairs.decode(pairs.encode(text)) == text


def test_generators_and_lone_surrogates_are_learnt_from() -> None:
    corpus = ["CCl\ud800"] * 3
    assert pieces(smiles_tokenizer(line for line in corpus), "CCl") == ["C", "Cl"]
    assert pieces(train_smiles_bpe(line for line in corpus), "CCl") == ["CCl"]


def test_training_twice_gives_the_same() -> None:
    assert train_smiles_bpe(DRUGS.values()).backend.to_str() == train_smiles_bpe(DRUGS.values()).backend.to_str()
