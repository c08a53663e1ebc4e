"""Markdown (CommonMark with tables)."""

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

from genaisys.retrieval.readers.draft import Draft, clean, row_text
from genaisys.retrieval.readers.encoding import decode
from genaisys.retrieval.readers.html import read_markup_into

_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n(?:---|\.\.\.)\s*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"^(\w[\w -]*):[ \t]*(\S.*)$", re.MULTILINE)
_PARSER = MarkdownIt("commonmark").enable("table")


def read_markdown(content: bytes) -> Draft:
    draft = Draft()
    text = clean(decode(content))
    front_matter = _FRONT_MATTER.match(text)
    if front_matter:
        text = text[front_matter.end() :]
        draft.metadata = {name.lower(): value.strip("'\" ") for name, value in _FIELD.findall(front_matter[1])}
        draft.title = draft.metadata.pop("title", "")
    tokens = _PARSER.parse(text)
    table: list[list[str]] = []
    in_item = 0
    for index, token in enumerate(tokens):
        match token.type:
            case "inline":
                _add_inline(draft, tokens[index - 1], token, table, in_item > 0)
            case "fence" | "code_block":
                draft.code(token.content)
            case "html_block":
                read_markup_into(draft, token.content)
            case "list_item_open":
                in_item += 1
            case "list_item_close":
                in_item -= 1
            case "tr_open":
                table.append([])
            case "table_close":
                header = row_text(table[0]) if len(table) > 1 else ""
                for row in table:
                    draft.row(row, header)
                table = []
    return draft


def _add_inline(draft: Draft, opening: Token, inline: Token, table: list[list[str]], in_item: bool) -> None:
    text = "".join(_inline_text(child) for child in inline.children or ())
    if opening.type == "heading_open":
        draft.heading(text, int(opening.tag[1]))
    elif opening.type in ("th_open", "td_open"):
        table[-1].append(text)
    elif in_item:
        draft.item(text)
    else:
        draft.paragraph(text)


def _inline_text(token: Token) -> str:
    match token.type:
        case "text" | "code_inline":
            return token.content
        case "softbreak" | "hardbreak":
            return " "
        case "image":
            return token.content  # its alternative text
    return ""  # marks of emphasis and links, HTML tags
