"""What a browser says about its uploads is not believed."""

from pathlib import Path

import pytest

from genaisys.apps.uploads import received
from genaisys.retrieval.readers import MAX_FILE_BYTES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "f00.txt").write_text("hello")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "uploads" / "link.txt").symlink_to(tmp_path / "secret.txt")
    return tmp_path / "uploads"


def test_a_file_keeps_its_name_as_data_only(folder: Path) -> None:
    path = folder / "f00.txt"
    uploads = received([{"name": "reports/über\n☂.txt", "size": 5, "path": str(path)}], folder)
    assert uploads.files == {"reports/über\n☂.txt": path}
    uploads.remove()
    assert not path.exists()


@pytest.mark.parametrize(
    "path", ["secret.txt", "uploads/../secret.txt", "uploads/link.txt", "uploads", "uploads/none", ""]
)
def test_only_files_in_the_upload_folder_are_taken(folder: Path, path: str) -> None:
    sent = str(folder.parent / path) if path else ""
    uploads = received([{"name": "a.txt", "size": 1, "path": sent}], folder)
    assert not uploads.files
    assert [(outcome.source, outcome.status) for outcome in uploads.failed] == [("a.txt", "failed")]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "//etc/./passwd"])
def test_a_source_climbs_nowhere(folder: Path, name: str) -> None:
    (source,) = received([{"name": name, "size": 5, "path": str(folder / "f00.txt")}], folder).files
    assert source == "etc/passwd"


def test_a_file_that_is_too_large_is_named_with_the_limit(folder: Path) -> None:
    (outcome,) = received([{"name": "big.txt", "size": MAX_FILE_BYTES + 1_000_000, "path": ""}], folder).failed
    assert outcome.detail == "has 201 MB, and 200 MB is the limit; split it into parts"


@pytest.mark.parametrize("sent", [None, "x", {}, [None], [[]], ["a"], [{}], [{"name": 3, "size": "x", "path": 5}]])
def test_nonsense_is_not_taken(folder: Path, sent: object) -> None:
    assert not received(sent, folder).files
