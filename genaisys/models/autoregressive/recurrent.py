"""A memory of everything, in a state that is updated value by value (book section 3.2.2)."""

from __future__ import annotations

from collections.abc import Generator

import torch.nn.functional as F
from torch import Tensor, nn

from genaisys.models.autoregressive.model import Autoregressive, CausalNetwork, Values, autoregressive, head_of
from genaisys.models.autoregressive.order import Places
from genaisys.models.spaces import Integers, Reals

CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}


class Recurrent(CausalNetwork):
    """``h_d = RNN(x_{d-1}, h_{d-1})`` and ``p(x_d | h_d)`` (eq. 3.6).

    Products over many steps vanish or explode: so the recurrent matrices begin orthogonal, and gradients are to be
    clipped (``TrainingSettings.clip_norm``).

    Args:
        cell: ``gru`` or ``lstm``.
        dropout: between the layers, and before the head.

    Raises:
        ValueError: there is no such cell.
    """

    def __init__(
        self, space: Integers | Reals, numbers: int, cell: str, width: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"cell is 'gru' or 'lstm', not {cell!r}")
        self.values = Values(space, width)
        self.places = Places(space.shape, width)
        between = dropout if layers > 1 else 0.0
        self.rnn = CELLS[cell](width, width, layers, batch_first=True, dropout=between)
        self.out = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, numbers))
        for name, parameter in self.rnn.named_parameters():
            if name.startswith("weight_hh"):
                for gate in parameter.detach().view(-1, width, width):
                    nn.init.orthogonal_(gate)

    def forward(self, x: Tensor) -> Tensor:
        before = F.pad(self.values(x[:, :-1]), (0, 0, 1, 0))  # [B, D, width]
        hidden, _ = self.rnn(before + self.places())
        return self.out(hidden)

    def steps(self, n: int) -> Generator[Tensor, Tensor, None]:
        places = self.places()  # [D, width]
        inputs, state = places[0].expand(n, -1), None
        for place in (*places[1:], None):
            hidden, state = self.rnn(inputs[:, None], state)
            x = yield self.out(hidden[:, 0])
            if place is not None:
                inputs = self.values(x) + place


def arm_rnn(
    space: Integers | Reals,
    cell: str = "gru",
    width: int = 128,
    layers: int = 1,
    dropout: float = 0.0,
    components: int | None = None,
) -> Autoregressive:
    """The preset."""
    head, numbers = head_of(space, components)
    return autoregressive(space, Recurrent(space, numbers, cell, width, layers, dropout), head)
