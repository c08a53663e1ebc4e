"""Several processes: the same training as one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from genaisys.training.metrics import read_metrics


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Seven sequences a batch, four for one process and three for the other."""
    arguments = ["10", "7", "0.0"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*torchrun, tiny.__file__, str(tmp_path / "two"), *arguments], check=True, capture_output=True, timeout=120
    )
    one = [sys.executable, tiny.__file__, str(tmp_path / "one"), *arguments]
    result = json.loads(subprocess.run(one, check=True, capture_output=True, timeout=120).stdout)
    assert result["step"] == 10
    ours, theirs = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    assert len(ours) == len(theirs) == 12
    for mine, other in zip(ours, theirs, strict=True):
        if "held_out" in mine:
            assert other["held_out"] == pytest.approx(mine["held_out"], rel=1e-4)
        else:
            assert other == pytest.approx(mine, rel=1e-4)
