"""Named collections: names become folders and come back unchanged, and nothing leaves the home folder."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaisys.retrieval import collections
from genaisys.retrieval.collections import CollectionError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENAISYS_HOME", str(tmp_path))
    return collections.home()


@pytest.mark.parametrize(
    "name", ["Samples", "Q3/Q4 reports", "..", ".hidden", "50% off", "C:\\temp", "日本語 📚", "ends with dot.", "%2F"]
)
def test_a_name_comes_back_as_it_was_given(name: str, home: Path) -> None:
    assert collections.create(name) == name
    assert collections.names() == [name]
    assert collections.store_of(name).parent == home
    assert collections.store_of(name).is_dir()


@given(st.text(max_size=70))
def test_no_name_leaves_the_home_folder(name: str) -> None:
    try:
        store = collections.store_of(name)
    except CollectionError:
        return
    assert store.parent == collections.home()
    assert store.resolve().parent == collections.home().resolve()
    assert len(store.name.encode()) <= 255


def test_a_collection_is_found_however_its_name_is_typed() -> None:
    collections.create("Lab Notes")
    assert collections.store_of("  lab   NOTES ") == collections.store_of("Lab Notes")


def test_what_is_there_is_found_and_what_is_not_is_made() -> None:
    collections.create("Lab")
    assert collections.find_or_create("lab") == "Lab"
    assert collections.find_or_create("Field") == "Field"
    assert collections.names() == ["Field", "Lab"]


def test_a_name_is_given_once() -> None:
    collections.create("Lab")
    with pytest.raises(CollectionError, match="already"):
        collections.create("lab")


@pytest.mark.parametrize("name", ["", "   ", "x" * 61, "a\x00b", "a\u202eb"])
def test_bad_names_are_refused_in_one_plain_line(name: str) -> None:
    with pytest.raises(CollectionError) as refusal:
        collections.create(name)
    assert "\n" not in str(refusal.value)
    assert collections.names() == []


def test_delete_removes_that_collection_and_no_other(home: Path) -> None:
    collections.create("keep")
    collections.create("drop")
    (collections.store_of("drop") / "index.db").write_text("x")
    collections.delete("drop")
    assert collections.names() == ["keep"]
    assert [path.name for path in home.iterdir()] == ["keep"]
    with pytest.raises(CollectionError, match="no collection called drop"):
        collections.delete("drop")


def test_names_are_listed_in_alphabetical_order() -> None:
    for name in ("beta", "Alpha", "gamma"):
        collections.create(name)
    assert collections.names() == ["Alpha", "beta", "gamma"]
