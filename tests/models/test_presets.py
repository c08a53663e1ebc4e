"""Presets on spaces that they were not made with in mind: a model, or one plain line that says why not."""

from pathlib import Path

import pytest
import torch

from genaisys.errors import GenaisysError
from genaisys.hub.checkpoints import CheckpointBroken
from genaisys.models import Einet, FactorisedCategorical, Integers, Reals, SpaceUnfit, build, load_model
from genaisys.models.circuits.leaves import CategoricalLeaves
from genaisys.models.conditionals import Bernoullis
from genaisys.models.mixtures import GaussianComponents
from genaisys.zoo.catalogue import ZOO

ODD_SPACES = [
    Reals((1,)),
    Reals((1, 4, 4)),
    Integers((1,), 0, 1),
    Integers((6,), -1, 2),
    Integers((3, 5, 5), 0, 3),
    Integers((4,), 7, 7),
]


@pytest.mark.parametrize("space", ODD_SPACES, ids=str)
def test_an_entry_of_the_zoo_fits_a_space_or_says_in_one_line_why_not(space: Integers | Reals) -> None:
    fitting, said = 0, []
    for entry in ZOO.values():
        torch.manual_seed(0)
        try:
            model = build(entry.preset, space, **entry.sizes)
        except GenaisysError as error:
            said.append(str(error))
            continue
        model.loss(model.sample(2)).mean().backward()
        fitting += 1
    assert fitting > 10
    assert all(line and "\n" not in line for line in said)


@pytest.mark.parametrize("name", ["factorised", "mixture", "chow-liu", "hidden-tree", "einet", "idf"])
def test_a_model_of_integers_says_that_it_is_one(name: str) -> None:
    with pytest.raises(SpaceUnfit, match=f"{name} is a model of integers"):
        build(name, Reals((4,)))


@pytest.mark.parametrize(
    ("name", "sizes", "said"),
    [
        ("arm-rnn", {"cell": "foo"}, "cell is 'gru' or 'lstm', not 'foo'"),
        ("einet", {"repetitions": 0}, "one distribution or more, not 0"),
        ("hidden-tree", {"states": 0}, "one distribution or more, not 0"),
        ("mixture", {"components": 0}, "one distribution or more, not 0"),
        ("mixture-gaussian", {"components": 0}, "one distribution or more, not 0"),
        ("arm-rnn", {"components": 0}, "one component or more, not 0"),
        ("idf", {"components": 0}, "one component or more, not 0"),
        ("vae", {"components": 0}, "one component or more, not 0"),
    ],
)
def test_sizes_that_make_no_model_are_said_in_one_line(name: str, sizes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build(name, Integers((4,), 0, 3), **sizes)


def test_a_mixture_of_full_covariance_has_components() -> None:
    with pytest.raises(ValueError, match="one component or more, not 0"):
        GaussianComponents(Reals((2,)), 0)


def test_leaves_are_shared_by_repetitions() -> None:
    for repetitions in (0, 4):
        with pytest.raises(ValueError, match=f"6 leaves of a variable cannot be shared by {repetitions} repetitions"):
            Einet(CategoricalLeaves(Integers((4,), 0, 3), 6), depth=1, repetitions=repetitions)


def test_a_single_variable_is_not_factored_out() -> None:
    with pytest.raises(SpaceUnfit, match="single variable"):
        build("idf", Integers((1,), 0, 3), levels=1)


@pytest.mark.parametrize(
    ("decoder", "space"),
    [
        ("bernoulli", Integers((4,), 0, 2)),
        ("categorical", Reals((4,))),
        ("gaussian", Integers((4,), 0, 1)),
        ("poisson", Integers((4,), 0, 1)),
    ],
)
def test_a_decoder_is_of_its_own_kind_of_data(decoder: str, space: Integers | Reals) -> None:
    with pytest.raises(GenaisysError, match="two integers" if decoder == "bernoulli" else f"no decoder '{decoder}'"):
        build("vae", space, decoder=decoder)


def test_a_bernoulli_decoder_is_the_sigmoid_of_its_logits() -> None:
    decoder = Bernoullis(torch.nn.Identity(), Integers((3,), 7, 8))
    logits = torch.tensor([[-2.0, 0.5, 30.0]])
    p = decoder(logits).base_dist
    torch.testing.assert_close(p.log_prob(torch.tensor([[8, 8, 8]])).exp(), logits.sigmoid())
    torch.testing.assert_close(p.log_prob(torch.tensor([[7, 7, 7]])), -torch.nn.functional.softplus(logits))


@pytest.mark.parametrize(
    ("old", "new"), [('"width": 4', '"width": -4'), ('"low": 0', '"low": 9'), ('"shape": [', '"shape": [-1, ')]
)
def test_a_damaged_description_is_said_in_plain_words(old: str, new: str, tmp_path: Path) -> None:
    build("arm-rnn", Integers((3,), 0, 1), width=4).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    text = " ".join(file.read_text().split())
    assert old in text.replace("[ ", "[")
    file.write_text(text.replace("[ ", "[").replace(old, new))
    with pytest.raises(CheckpointBroken, match="it describes no model"):
        load_model(tmp_path)


def test_what_is_impossible_is_summed_out_too() -> None:
    model = build("factorised", Integers((2,), 0, 2))
    assert isinstance(model, FactorisedCategorical)
    model.fit_counts(torch.tensor([[0, 1], [1, 1]]), smoothing=0.0)
    impossible, observed = torch.tensor([[2, 1]]), torch.tensor([False, True])
    assert model.log_marginal(impossible, observed).item() == 0.0  # x_1 is always 1
    assert model.log_prob(impossible).item() == -float("inf")
