"""The loop: what a step is, what is kept, what stops it."""

import json
import math
import os
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from genaisys.training import Sums, TensorExamples, TrainingSettings, evaluate, train
from genaisys.training.interruption import TrainingInterrupted
from genaisys.training.loop import TrainingDiverged
from genaisys.training.metrics import read_metrics
from genaisys.training.objectives import loss_of_tokens, next_tokens
from genaisys.training.run_folder import RunDiffers
from genaisys.training.settings import SettingsWrong

SETTINGS = TrainingSettings(steps=20, batch_size=8, learning_rate=0.01, evaluate_every=5)


class Line(nn.Module):
    """``y = w x``, trained towards ``y = 0``: simple enough to be computed by hand."""

    def __init__(self, w: float = 1.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([w]))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w * x


def squares(model: Line, x: Tensor) -> Sums:
    return Sums((model(x) ** 2).sum(), len(x))


def steps_of(folder: Path) -> list[dict[str, float]]:
    return [record for record in read_metrics(folder / "metrics.jsonl") if "held_out" not in record]


def test_how_a_batch_is_cut_does_not_matter(tmp_path: Path) -> None:
    """Eight sequences of unequal length at once, or one by one, or three by three: the same training."""
    trained = {}
    for micro in (None, 1, 3):
        model = tiny.model().double()
        settings = replace(SETTINGS, micro_batch_size=micro)
        train(model, tiny.sequences(40), None, settings, tmp_path / str(micro))
        trained[micro] = tiny.weights(model)
    assert not torch.allclose(trained[None], tiny.weights(tiny.model().double()), atol=1e-3)
    for micro in (1, 3):
        torch.testing.assert_close(trained[micro], trained[None], rtol=1e-9, atol=1e-11)


def test_the_loss_of_a_step_is_per_token(tmp_path: Path) -> None:
    data, model = tiny.sequences(8), tiny.model()
    x = data.batch(range(8))
    expected = (model.loss(x).sum() / (x != tiny.PAD).sum()).item()
    train(model, data, None, replace(SETTINGS, steps=1, micro_batch_size=2), tmp_path)
    assert steps_of(tmp_path)[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_gradients_are_clipped_to_the_norm(tmp_path: Path) -> None:
    """Adam hides the length of a gradient, so it is looked at just before Adam takes it."""
    seen = []
    model = Line(3.0)
    settings = replace(SETTINGS, steps=1, clip_norm=0.5)

    def spy(optimizer: torch.optim.Optimizer, *_: object) -> None:
        seen.append(model.w.grad.item())

    handle = register_optimizer_step_pre_hook(spy)
    try:
        train(model, TensorExamples(torch.full((8, 1), 2.0)), None, settings, tmp_path, objective=squares)
    finally:
        handle.remove()
    assert seen == [pytest.approx(0.5)]
    assert steps_of(tmp_path)[0]["gradient_norm"] == pytest.approx(2 * 3 * 4)  # d (3x)^2 / dw at x = 2


def test_only_what_requires_a_gradient_is_trained_and_kept(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = Line()
    train(model, TensorExamples(torch.ones(8, 1)), None, SETTINGS, tmp_path, objective=squares)
    assert model.frozen.item() == 1
    assert model.w.item() < 1
    assert set(load_file(tmp_path / "checkpoints" / "step-00000020" / "model.safetensors")) == {"w"}


def test_training_learns_and_evaluation_agrees(tmp_path: Path) -> None:
    """After a few steps the next number of a run is foretold, and the result is that of the weights kept."""
    model, held_out = tiny.model(), tiny.sequences(12, seed=2)
    before = evaluate(model, held_out, next_tokens)
    settings = replace(SETTINGS, steps=150, ema_decay=0.9, evaluate_every=50, learning_rate=0.03)
    result = train(model, tiny.sequences(60), held_out, settings, tmp_path)
    assert result.held_out["loss"] < before["loss"] - 0.5
    assert result.held_out["accuracy"] > before["accuracy"] + 0.2
    assert evaluate(model, held_out, next_tokens) == pytest.approx(result.held_out)
    x = held_out.batch(range(12))
    assert result.held_out["loss"] == pytest.approx(-(model.eval().log_prob(x).sum() / (x != 0).sum()).item(), rel=1e-5)


def test_accuracy_is_the_share_of_right_tokens_without_padding() -> None:
    model, data = tiny.model().eval(), tiny.sequences(12)
    right = total = 0
    for sequence in data.sequences:  # one by one: no padding anywhere
        tokens = torch.cat([torch.tensor([tiny.BOS]), sequence[:-1]])[None]
        logits = model(tokens)[0]
        logits[:, [tiny.PAD, tiny.BOS]] = -torch.inf
        right += (logits.argmax(-1) == sequence).sum().item()
        total += len(sequence)
    assert evaluate(model, data, next_tokens, batch_size=5)["accuracy"] == pytest.approx(right / total)


def test_modes_and_random_numbers_survive_an_evaluation() -> None:
    model = tiny.model(dropout=0.5).train()
    model.blocks[0].eval()
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    first, second = (evaluate(model, tiny.sequences(12), loss_of_tokens) for _ in range(2))
    assert first == second  # no dropout
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("training", [True, False])
def test_modes_survive_training(tmp_path: Path, training: bool) -> None:
    model = tiny.model(dropout=0.5).train(training)
    model.norm.train(not training)
    modes = [module.training for module in model.modules()]
    train(model, tiny.sequences(12), tiny.sequences(12), replace(SETTINGS, steps=2), tmp_path)
    assert [module.training for module in model.modules()] == modes


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    """Training pulls w from 1 to 0, the held-out loss is least at 0.9: it stops soon after, and w is near 0.9."""
    model = Line()

    def towards(model: Line, x: Tensor) -> Sums:
        return Sums(((model.w - 0.9) ** 2).sum(), 1)

    settings = replace(SETTINGS, steps=200, evaluate_every=2, patience=3)
    data = TensorExamples(torch.ones(8, 1))
    result = train(model, data, data, settings, tmp_path, objective=squares, evaluation=towards)
    losses = [r["held_out"]["loss"] for r in read_metrics(tmp_path / "metrics.jsonl") if "held_out" in r]
    assert result.step == result.best_step + 2 * 3 < 200
    assert result.held_out["loss"] == min(losses)
    assert losses[-4] == min(losses)
    assert (model.w.item() - 0.9) ** 2 == pytest.approx(min(losses), rel=1e-2)


def test_a_loss_that_is_not_finite_stops_with_the_last_checkpoint_kept(tmp_path: Path) -> None:
    calls = 0

    def breaks(model: Line, x: Tensor) -> Sums:
        nonlocal calls
        calls += 1
        return Sums((model(x) ** 2).sum() * (math.nan if calls == 8 else 1.0), len(x))

    model = Line()
    with pytest.raises(TrainingDiverged, match=r"not finite at step 8.*checkpoint of step 5 is kept"):
        train(model, TensorExamples(torch.ones(8, 1)), None, SETTINGS, tmp_path, objective=breaks)
    assert math.isfinite(model.w.item())
    assert [path.name for path in (tmp_path / "checkpoints").glob("step*")] == ["step-00000005"]


def test_a_gradient_that_is_not_finite_stops(tmp_path: Path) -> None:
    def root(model: Line, x: Tensor) -> Sums:
        return Sums((model(x) * 0).sqrt().sum(), len(x))  # 0, with an infinite slope

    with pytest.raises(TrainingDiverged, match=r"gradient is not finite at step 1.*no checkpoint yet"):
        train(Line(), TensorExamples(torch.ones(8, 1)), None, SETTINGS, tmp_path, objective=root)


def test_a_held_out_loss_that_is_not_finite_stops(tmp_path: Path) -> None:
    def breaks(model: Line, x: Tensor) -> Sums:
        return Sums(torch.tensor(math.nan), len(x))

    data = TensorExamples(torch.ones(8, 1))
    with pytest.raises(TrainingDiverged, match="held-out loss is not finite at step 5"):
        train(Line(), data, data, SETTINGS, tmp_path, objective=squares, evaluation=breaks)


def test_another_training_in_the_folder_is_refused(tmp_path: Path) -> None:
    data = TensorExamples(torch.ones(8, 1))
    train(Line(), data, None, SETTINGS, tmp_path, objective=squares)
    with pytest.raises(RunDiffers, match=r"settings\.learning_rate \(0\.01 there, 0\.02 here\)"):
        train(Line(), data, None, replace(SETTINGS, learning_rate=0.02), tmp_path, objective=squares)
    with pytest.raises(RunDiffers, match=r"another data \(None there, cats here\)"):
        train(Line(), data, None, SETTINGS, tmp_path, objective=squares, described={"data": "cats"})


def test_a_folder_that_does_not_tell_what_it_holds_is_refused(tmp_path: Path) -> None:
    data = TensorExamples(torch.ones(8, 1))
    train(Line(), data, None, SETTINGS, tmp_path, objective=squares)
    (tmp_path / "run.json").write_bytes(b"\xff")
    with pytest.raises(RunDiffers, match=r"run\.json is damaged"):
        train(Line(), data, None, SETTINGS, tmp_path, objective=squares)


def test_a_finished_model_is_not_overwritten_by_another_training(tmp_path: Path) -> None:
    """Also where somebody has cleared the checkpoints away: what was made of them is worth as much."""
    data = TensorExamples(torch.ones(8, 1))
    train(Line(), data, None, SETTINGS, tmp_path, objective=squares)
    shutil.rmtree(tmp_path / "checkpoints")
    (tmp_path / "model.safetensors").write_bytes(b"the finished model")
    other = replace(SETTINGS, learning_rate=0.02)
    with pytest.raises(RunDiffers, match=r"settings\.learning_rate \(0\.01 there, 0\.02 here\)"):
        train(Line(), data, None, other, tmp_path, objective=squares)
    train(Line(), data, None, SETTINGS, tmp_path, objective=squares)  # the same again is no harm


def test_a_training_that_has_kept_nothing_yet_may_be_changed(tmp_path: Path) -> None:
    data = TensorExamples(torch.ones(8, 1))
    train(Line(), data, None, SETTINGS, tmp_path, objective=squares)
    shutil.rmtree(tmp_path / "checkpoints")
    train(Line(), data, None, replace(SETTINGS, learning_rate=0.02), tmp_path, objective=squares)
    assert steps_of(tmp_path)[-1]["step"] == 20


def test_two_trainings_at_once_in_a_folder_are_refused(tmp_path: Path) -> None:
    data = TensorExamples(torch.ones(8, 1))

    def again(record: object) -> None:
        with pytest.raises(RunDiffers, match="another process is training"):
            train(Line(), data, None, SETTINGS, tmp_path, objective=squares)

    train(Line(), data, None, replace(SETTINGS, steps=1), tmp_path, objective=squares, on_record=again)


def test_metrics_are_one_json_object_a_line(tmp_path: Path) -> None:
    shown: list[object] = []
    train(tiny.model(), tiny.sequences(9), tiny.sequences(9), SETTINGS, tmp_path, on_record=shown.append)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == shown
    assert [line["step"] for line in lines if "held_out" not in line] == [*range(1, 21)]
    assert [line["step"] for line in lines if "held_out" in line] == [5, 10, 15, 20]
    assert set(lines[0]) == {"step", "loss", "learning_rate", "gradient_norm"}
    assert set(lines[-1]["held_out"]) == {"loss", "accuracy"}


def test_ctrl_c_keeps_a_checkpoint_and_training_goes_on_from_there(tmp_path: Path) -> None:
    def stop(record: dict[str, object]) -> None:
        if record["step"] == 7:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    data, stopped, whole = tiny.sequences(40), tiny.model(dropout=0.2), tiny.model(dropout=0.2)
    with pytest.raises(TrainingInterrupted, match="after step 8 of 20"):
        train(stopped, data, None, SETTINGS, tmp_path / "a", on_record=stop)
    assert signal.getsignal(signal.SIGINT) is before
    train(stopped, data, None, SETTINGS, tmp_path / "a")
    train(whole, data, None, SETTINGS, tmp_path / "b")
    assert torch.equal(tiny.weights(stopped), tiny.weights(whole))


def test_training_works_in_a_thread(tmp_path: Path) -> None:
    """Which no signal can reach."""
    model = Line()
    data = TensorExamples(torch.ones(8, 1))
    thread = threading.Thread(target=lambda: train(model, data, None, SETTINGS, tmp_path, objective=squares))
    thread.start()
    thread.join()
    assert model.w.item() < 1


def test_bfloat16_trains_float32_weights(tmp_path: Path) -> None:
    losses, model = [], tiny.model()
    settings = replace(SETTINGS, steps=60, precision="bfloat16", learning_rate=0.03)
    train(model, tiny.sequences(40), None, settings, tmp_path, on_record=lambda record: losses.append(record["loss"]))
    assert model.embedding.weight.dtype == torch.float32
    assert losses[-1] < losses[0] - 0.5


def test_no_examples_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsWrong, match="no examples to train with"):
        train(Line(), TensorExamples(torch.ones(0, 1)), None, SETTINGS, tmp_path, objective=squares)
    with pytest.raises(SettingsWrong, match="held-out"):
        evaluate(Line(), TensorExamples(torch.ones(0, 1)), squares)
    with pytest.raises(SettingsWrong, match="held-out"):
        train(Line(), TensorExamples(torch.ones(1, 1)), TensorExamples(torch.ones(0, 1)), SETTINGS, tmp_path)
