"""A function of many items in processes of its own."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from genaisys.molecules.parallel import for_each


def test_many_items_keep_their_order_in_processes() -> None:
    progress: list[int] = []
    items = list(range(2100))
    assert for_each(math.sqrt, items, progress.append) == [math.sqrt(item) for item in items]
    assert progress == sorted(progress)
    assert progress[-1] == 2100


@pytest.mark.skipif(os.cpu_count() == 1, reason="all is done in one process")
def test_a_script_that_begins_at_once_is_told_what_it_lacks(tmp_path: Path) -> None:
    """The processes import it, would begin too, and end."""
    script = tmp_path / "script.py"
    script.write_text("""\
import math
from genaisys.molecules.parallel import NoProcesses, for_each

try:
    for_each(math.sqrt, [0] * 2100)
except NoProcesses as error:
    print(error)
""")
    told = subprocess.run([sys.executable, str(script)], capture_output=True, text=True).stdout
    assert '`if __name__ == "__main__":`' in told


def test_ctrl_c_is_not_commented_on_by_the_processes(tmp_path: Path) -> None:
    """A terminal sends it to all of them: one is at work then, and the others wait for work."""
    script = tmp_path / "script.py"
    script.write_text("""\
import time
import pytest

from genaisys.molecules.parallel import for_each

if __name__ == "__main__":
    try:
        for_each(time.sleep, [0] * 2099 + [2], lambda done: print(done, flush=True))
    except KeyboardInterrupt:
        print("stopped", flush=True)
""")
    command = [sys.executable, str(script)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "2000\n":
                break
        os.killpg(process.pid, signal.SIGINT)
        rest, errors = process.communicate()
    assert (rest, errors) == ("stopped\n", "")
