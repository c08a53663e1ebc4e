"""Named collections: a display name is one folder, which holds one store.

The folder's name *is* the display name, with what file systems mind written as ``%XX``; so there is no list that could
disagree with what is on the disk.
"""

import os
import re
import shutil
import unicodedata
import uuid
from pathlib import Path
from urllib.parse import unquote

from platformdirs import user_data_path

from genaisys.errors import GenaisysError

MAX_NAME = 60  # characters; four bytes each still make a legal folder name

_UNSAFE = re.compile(r'[/\\:*?"<>|%]|^\.|[. ]$')


class CollectionError(GenaisysError):
    """The name is no good, or is taken, or is not there."""


def home() -> Path:
    """Where collections live: ``collections`` in ``$GENAISYS_HOME``, or in the user's data folder."""
    chosen = os.environ.get("GENAISYS_HOME")
    return (Path(chosen).expanduser() if chosen else user_data_path("genaisys", appauthor=False)) / "collections"


def names() -> list[str]:
    """The display names of all collections, in alphabetical order."""
    if not home().is_dir():
        return []
    folders = [entry.name for entry in home().iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return sorted(map(unquote, folders), key=lambda name: (name.casefold(), name))


def store_of(name: str) -> Path:
    """The store folder of the collection called ``name``, whether it is there already or not.

    Upper and lower case do not matter: a collection that is there is found however its name is typed.

    Raises:
        CollectionError: no collection can have this name.
    """
    name = _clean(name)
    there = next((other for other in names() if other.casefold() == name.casefold()), name)
    return home() / _UNSAFE.sub(lambda character: f"%{ord(character[0]):02X}", there)


def create(name: str) -> str:
    """Make an empty collection. -> its name, as it will be listed

    Raises:
        CollectionError: the name is no good or taken.
    """
    store = store_of(name)
    try:
        store.mkdir(parents=True)
    except FileExistsError:
        raise CollectionError(
            f"there is a collection called {unquote(store.name)} already; choose another name"
        ) from None
    return unquote(store.name)


def find_or_create(name: str) -> str:
    """The collection called ``name``, which is made if it is not there. -> its name, as it is listed

    Raises:
        CollectionError: no collection can have this name.
    """
    store = store_of(name)
    return unquote(store.name) if store.is_dir() else create(name)


def delete(name: str) -> None:
    """Delete a collection with all its documents. Close its store first.

    Raises:
        CollectionError: there is none of this name.
    """
    store = store_of(name)
    if not store.is_dir():
        raise CollectionError(f"there is no collection called {_clean(name)}")
    # Renamed first: a crash half-way leaves no half collection behind.
    doomed = home() / f".deleted-{uuid.uuid4().hex}"
    store.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _clean(name: str) -> str:
    name = unicodedata.normalize("NFC", " ".join(name.split()))
    if not name:
        raise CollectionError("a collection needs a name")
    if len(name) > MAX_NAME:
        raise CollectionError(f"the name of a collection has at most {MAX_NAME} characters; this one has {len(name)}")
    if not name.isprintable():
        raise CollectionError("the name of a collection holds characters that cannot be shown; leave them out")
    return name
