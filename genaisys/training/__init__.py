"""Training: one loop for every model, recipes, and the data sets that they name."""

from genaisys.training.data import Examples, TensorExamples, TokenSequences
from genaisys.training.em import fit_by_em
from genaisys.training.evaluation import evaluate
from genaisys.training.fit import fit
from genaisys.training.loop import TrainingResult, train
from genaisys.training.objectives import Objective, Sums
from genaisys.training.settings import TrainingSettings
from genaisys.training.stepwise_em import StepwiseEM

__all__ = [
    "Examples",
    "Objective",
    "StepwiseEM",
    "Sums",
    "TensorExamples",
    "TokenSequences",
    "TrainingResult",
    "TrainingSettings",
    "evaluate",
    "fit",
    "fit_by_em",
    "train",
]
