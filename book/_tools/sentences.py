"""Markdown cut into blocks, lists into items, and paragraphs into sentences."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

READ = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin)
KINDS = {
    "heading_open": "heading",
    "paragraph_open": "paragraph",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "table_open": "table",
    "blockquote_open": "quote",
    "math_block": "formula",
    "html_block": "html",
    "fence": "fence",
}
# Where a formula, code, bold or a link's address holds a full stop, no sentence ends.
OPAQUE = re.compile(r"\*\*[^*]+\*\*|\$[^$]+\$|`[^`]+`|\[[^]]*\]\([^)]*\)")
END = re.compile(
    r"(?<!\bal)(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)[.?!](?:\*\*|[”\"’)])*(?=\s+[\"“*$`(\[A-ZÄÖÜ0-9χσηφδ])"
)


@dataclass(frozen=True)
class Block:
    """A block of Markdown; `text` is its source on one line, without the marks of its kind."""

    kind: str
    text: str
    level: int = 0


def blocks(source: str) -> Iterator[Block]:
    """Yield the blocks of a text; lists, tables and code keep their lines."""
    lines = source.splitlines()
    for token in READ.parse(source):
        if token.level or token.type not in KINDS or token.map is None:
            continue
        kind, raw = KINDS[token.type], lines[slice(*token.map)]
        if kind == "heading":
            yield Block(kind, text_of("\n".join(raw)).lstrip("# "), int(token.tag[1]))
        elif kind == "formula":
            yield Block(kind, token.content.strip())
        elif kind == "quote":
            yield Block(kind, text_of("\n".join(line.lstrip("> ") for line in raw)))
        elif kind == "paragraph":
            yield Block(kind, text_of("\n".join(raw)))
        else:
            yield Block(kind, "\n".join(raw))


def items(text: str) -> list[str]:
    """Return the points of a list, those that are long by what they say first."""
    lines = text.splitlines()
    found = []
    for token in READ.parse(text):
        if token.type == "list_item_open" and token.level == 1 and token.map:
            raw = text_of("\n".join(lines[slice(*token.map)]))
            found.append(shortened(re.sub(r"^(\d+[.)]|[-*+])\s+", "", raw)))
    return found


def shortened(text: str, most: int = 26) -> str:
    """Return as many whole sentences as `most` words hold, at least one."""
    kept = ""
    for sentence in sentences(text):
        if kept and words(f"{kept} {sentence}") > most:
            break
        kept = f"{kept} {sentence}".strip()
    return kept


def sentences(text: str) -> list[str]:
    """Cut a paragraph into its sentences."""
    masked = OPAQUE.sub(hidden, text)
    ends = [match.end() for match in END.finditer(masked)]
    starts = [0, *ends]
    return [
        piece
        for begin, end in zip(starts, [*ends, len(text)], strict=True)
        if (piece := text[begin:end].strip())
    ]


def hidden(match: re.Match[str]) -> str:
    """Hide what is inside a formula, code, an address or bold, but not how bold begins and ends."""
    inside = match[0]
    if inside.startswith("**"):
        return f"**{'x' * (len(inside) - 5)}{inside[-3:]}"
    return inside[0] + "x" * (len(inside) - 1)


def words(text: str) -> int:
    """Count the words of a text; a formula counts as one."""
    return len(strip_math(text).split())


def strip_math(text: str) -> str:
    """Return about what is seen of a text: no TeX commands, no addresses."""
    text = re.sub(r"\]\([^)]*\)|[*`\[]", "", text)
    return re.sub(r"\$([^$]+)\$", lambda m: re.sub(r"\\[A-Za-z]+|[{}_^\s]", "", m[1]) + ".", text)


def text_of(text: str) -> str:
    """Put a text on one line."""
    return re.sub(r"\s+", " ", text).strip()
