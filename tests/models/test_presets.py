"""Presets on spaces that they were not made with in mind: a model, or one plain line that says why not."""

import pytest
import torch

from genaisys.errors import GenaisysError
from genaisys.models import Integers, Reals, SpaceUnfit, build
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


def test_a_single_variable_is_not_factored_out() -> None:
    with pytest.raises(SpaceUnfit, match="single variable"):
        build("idf", Integers((1,), 0, 3), levels=1)
