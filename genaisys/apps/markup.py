"""Text of documents and people, made safe to stand in a page. Everything shown goes through here."""

from html import escape
from pathlib import PurePosixPath


def shown(text: str) -> str:
    """``text`` as HTML: its angle brackets and quotes are shown, not obeyed. Good inside tags and attributes."""
    return escape(text.encode("utf-8", "replace").decode(), quote=True)


def shown_in_one_line(text: str) -> str:
    """A name as HTML: line breaks, control characters and changes of writing direction become visible."""
    return shown("".join(character if character.isprintable() else "�" for character in text))


def place(source: str, page: int | None) -> str:
    """Where something stands, as HTML: the file's name, its folder in a lighter tone, and the page."""
    path = PurePosixPath(source)
    folder = f"<span class='folder'>{shown_in_one_line(str(path.parent))}/</span>" if path.parent.parts else ""
    number = f"<span class='page'>page {page}</span>" if page is not None else ""
    return f"<span class='place'>{folder}<span class='file'>{shown_in_one_line(path.name)}</span>{number}</span>"
