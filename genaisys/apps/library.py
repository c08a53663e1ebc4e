"""The library: collections, their documents, and what became of files that were brought in, as HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Protocol

from genaisys.apps.markup import place, shown, shown_in_one_line
from genaisys.retrieval.collections import MAX_NAME

SHOWN_AT_MOST = 500  # rows of one list; the browser stays quick


class Listed(Protocol):
    """A document in a list."""

    @property
    def source(self) -> str: ...

    @property
    def title(self) -> str: ...


class Result(Protocol):
    """What became of one file."""

    @property
    def source(self) -> str: ...

    @property
    def status(self) -> str: ...

    @property
    def detail(self) -> str: ...


def render_collections(names: Sequence[str], current: str, error: str = "") -> str:
    """The collections to switch between, with the current one's deletion and a form for a new one."""
    rows = "".join(_collection(name, name == current) for name in names)
    return (
        f"<div class='label'>Collections</div><ul class='collections'>{rows}</ul>{_error(error)}"
        "<details class='new'><summary>New collection</summary><form data-do='create'>"
        f"<input name='name' maxlength='{MAX_NAME}' required placeholder='Its name' aria-label='Its name'>"
        "<button>Create</button></form></details>"
    )


def render_documents(documents: Sequence[Listed], error: str = "") -> str:
    """The documents of the current collection, each with its deletion behind a second question."""
    if not documents:
        return f"<div class='label'>Documents</div><p class='none'>None yet.</p>{_error(error)}"
    rows = "".join(_document(document) for document in documents[:SHOWN_AT_MOST])
    rest = len(documents) - SHOWN_AT_MOST
    more = f"<p class='none'>and {rest:,} more</p>" if rest > 0 else ""
    return (
        f"<div class='label'>Documents <b>{len(documents):,}</b></div>{_error(error)}"
        f"<ul class='documents'>{rows}</ul>{more}"
    )


def render_outcomes(results: Sequence[Result], pending: Sequence[str]) -> str:
    """Progress and outcome of files that are brought in; ``pending`` are those that have no outcome yet."""
    counts = Counter(result.status for result in results)
    summary = ", ".join(f"{count:,} {status}" for status, count in counts.items()) or "Nothing to read"
    total = len(results) + len(pending)
    bar = f"<progress max='{total}' value='{len(results)}'></progress>" if pending else ""
    close = "" if pending else "<button class='quiet' data-do='clear' aria-label='Put this list away'>×</button>"
    title = f"Reading {len(results) + 1:,} of {total:,}" if pending else shown(summary)
    # Failures first: they are what somebody has to act on.
    ordered = sorted(results, key=lambda result: result.status != "failed")
    rows = [_outcome(result.source, result.status, result.detail) for result in ordered[:SHOWN_AT_MOST]]
    rows += [_outcome(source, "reading", "") for source in pending[:SHOWN_AT_MOST]]
    return (
        f"<div class='outcomes' data-done='{str(not pending).lower()}' role='status'>"
        f"<div class='title'>{title}{close}</div>{bar}<ul>{''.join(rows)}</ul></div>"
    )


def _collection(name: str, current: bool) -> str:
    pick = (
        f"<button class='pick' data-do='switch' data-name='{shown(name)}' aria-pressed='{str(current).lower()}'>"
        f"{shown(name)}</button>"
    )
    question = f"Delete <b>{shown(name)}</b> with all its documents? The files they came from are not touched."
    return f"<li>{pick}{_confirm(question, 'drop', 'name', name) if current else ''}</li>"


def _document(document: Listed) -> str:
    suffix = PurePosixPath(document.source).suffix.lstrip(".")[:4] or "file"
    question = f"Delete <b>{shown_in_one_line(document.title)}</b> from this collection?"
    return (
        f"<li><button class='pick' data-do='open' data-source='{shown(document.source)}' data-start='0' data-end='0'"
        f" title='{shown_in_one_line(document.source)}'><span class='kind'>{shown_in_one_line(suffix)}</span>"
        f"<span class='name'>{shown_in_one_line(document.title)}{place(document.source, None)}</span></button>"
        f"{_confirm(question, 'delete', 'source', document.source)}</li>"
    )


def _confirm(question: str, action: str, key: str, value: str) -> str:
    return (
        "<details class='confirm'><summary aria-label='Delete' title='Delete'>×</summary>"
        f"<div><p>{question}</p><button class='danger' data-do='{action}' data-{key}='{shown(value)}'>Delete</button>"
        "<button class='quiet' data-fold>Keep</button></div></details>"
    )


def _outcome(source: str, status: str, detail: str) -> str:
    reason = f"<span class='detail'>{shown_in_one_line(detail)}</span>" if detail and status != "added" else ""
    return (
        f"<li data-status='{shown(status)}'><span class='name' title='{shown_in_one_line(source)}'>"
        f"{shown_in_one_line(source)}</span><span class='status'>{shown(status)}</span>{reason}</li>"
    )


def _error(error: str) -> str:
    return f"<p class='error' role='alert'>{shown(error)}</p>" if error else ""
