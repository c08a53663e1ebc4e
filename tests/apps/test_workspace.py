"""The models that are loaded while the page opens."""

from typing import Any

import pytest

from genaisys.apps.workspace import Workspace


def test_a_program_that_ends_says_nothing_of_what_it_still_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more_threads(*_: Any) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(Workspace, "_encoder", no_more_threads)
    workspace = Workspace()
    with pytest.raises(RuntimeError):  # a defect, while it does not end
        workspace._load_defaults()
    workspace.close()
    workspace._load_defaults()
    assert workspace.await_models() == ""
