"""The passages of a Markdown text that a translation replaces; all between them stays as it is.

A passage is a heading, a paragraph, one point of a list, one cell of a table, a `<summary>` or an
alternative text, on one line. `rewrite` asks for each of them, in the order of reading, what to put
in its place; a passage that stays as it is keeps its lines.
"""

import re
from collections.abc import Callable, Iterator

from docutils.nodes import make_id
from sentences import READ, text_of

Look = Callable[[str, str], str]
"""Given the kind of a passage and its text, what to put in its place."""

OPAQUE_DIRECTIVES = {"{code-block}", "{code}", "{code-cell}", "{math}", "{raw}"}
TITLED = {"{grid-item-card}", "{card}", "{admonition}", "{dropdown}", "{tab-item}"}
FENCE = re.compile(r"^(\s*)(`{3,}|~{3,}|:{3,})\s*(\{[\w:.-]+\})?(.*)$")
OPTION = re.compile(r"^(\s*:[\w-]+:\s*)(.*)$")
FORMULA = re.compile(r"^\s*(\$\$|\\begin\{)")
SUMMARY = re.compile(r"^(\s*<details[^>]*>\s*<summary>)(.+)(</summary>\s*)$")
HEADING = re.compile(r"^(#{1,6} +)(.+)$")
BARE = re.compile(
    r"^\s*(\([\w:. -]+\)=|% .*|-{3,}|\*{3,}|<!--.*-->|\{\{.*\}\}|(</?\w+[^>]*>\s*)+)\s*$"
)
TABLE = re.compile(r"^\s*\|.*\|\s*$")
QUOTE = re.compile(r"^(\s*>[ \t]?)(.*)$")
ITEM = re.compile(r"^(\s*(?:[-*+]|\d+[.)]|:|\[\^[\w-]+\]:)\s+(?:\[[ xX]\]\s+)?)(\S.*)$")
STARTS = (
    FENCE,
    FORMULA,
    SUMMARY,
    HEADING,
    QUOTE,
    ITEM,
)  # what ends a paragraph without a blank line
QUESTION = re.compile(r"\*\*Question \d+\.\*\*")
WORD = re.compile(r"[A-Za-z]{2,}")


def rewrite(source: str, look: Look, *, anchors: bool = False) -> str:
    """Put `look(kind, text)` in the place of each passage of a text.

    With `anchors`, a heading that changed has a comment before it that holds its English anchor.
    """
    return "\n".join(Rewriting(source.split("\n"), look, anchors).lines())


def has_words(text: str) -> bool:
    """Tell whether a text holds words beside its formulas, its code and its links' addresses."""
    tokens = READ.parseInline(text)[0].children or []
    return any(token.type == "text" and WORD.search(token.content) for token in tokens)


def anchor(title: str) -> str:
    """Return the identifier that the website gives to a heading."""
    tokens = READ.parseInline(title)[0].children or []
    text = "".join(token.content for token in tokens)
    return str(make_id(re.sub("['\"]", "", text)))  # the site sets typographic quotes, which go


class Rewriting:
    """One walk over the lines of a text."""

    def __init__(self, source: list[str], look: Look, anchors: bool) -> None:
        self.source, self.look, self.anchors = source, look, anchors
        self.at = 0
        self.section = ""
        self.box = ""  # kind of the paragraphs in an open <details>
        self.fences: list[tuple[str, str]] = []  # open directives: their marks and names

    def lines(self) -> Iterator[str]:
        """Yield the lines of the new text."""
        if self.source[0] == "---":
            yield from self.until(r"^---\s*$")
        while self.at < len(self.source):
            yield from self.block()

    def block(self) -> Iterator[str]:
        """Yield the new lines of the block that begins here."""
        line = self.source[self.at]
        if match := FENCE.match(line):
            yield from self.fence(match)
        elif FORMULA.match(line):
            yield from self.formula(line)
        elif match := SUMMARY.match(line):
            yield from self.summary(match)
        elif match := HEADING.match(line):
            yield from self.heading(match)
        elif TABLE.match(line):
            yield self.row(line)
            self.at += 1
        elif not line.strip() or BARE.match(line):
            if "</details>" in line:
                self.box = ""
            yield line
            self.at += 1
        elif match := QUOTE.match(line):
            yield from self.quote(match)
        elif match := ITEM.match(line):
            yield from self.passage(match[1], self.box or "list", match[2])
        else:
            yield from self.paragraph(line)

    def until(self, end: str) -> Iterator[str]:
        """Yield this line and the following, to the next that matches `end`."""
        yield self.source[self.at]
        self.at += 1
        while self.at < len(self.source):
            line = self.source[self.at]
            self.at += 1
            yield line
            if re.match(end, line):
                return

    def fence(self, match: re.Match[str]) -> Iterator[str]:
        """Code stays; a directive's text is text, and so are some of its options."""
        indent, marks, name, rest = match.groups()
        if not name and not rest.strip() and self.fences and self.fences[-1][0] == marks:
            self.fences.pop()
            yield self.source[self.at]
            self.at += 1
        elif not name or name in OPAQUE_DIRECTIVES:
            yield from self.until(rf"^\s*{marks[0]}{{{len(marks)},}}\s*$")
        else:
            self.fences.append((marks, name))
            line = self.source[self.at]
            if name in TITLED and rest.strip():
                title = self.asked("heading", rest.strip())
                line = f"{indent}{marks}{name} {title}" if title != rest.strip() else line
            yield line
            self.at += 1
            while self.at < len(self.source) and (m := OPTION.match(self.source[self.at])):
                spoken = m[1].strip() == ":alt:"
                yield m[1] + (self.asked("alternative text", m[2]) if spoken else m[2])
                self.at += 1

    def formula(self, line: str) -> Iterator[str]:
        """A formula on lines of its own stays."""
        if line.lstrip().startswith("\\begin"):
            yield from self.until(r".*\\end\{")
        elif line.strip().endswith("$$") and len(line.strip()) > 2:
            yield line
            self.at += 1
        else:
            yield from self.until(r".*\$\$\s*$")

    def summary(self, match: re.Match[str]) -> Iterator[str]:
        """What a box says before it unfolds."""
        option = self.section == "Check yourself"
        self.box = "answer" if option else "hint"
        kind = "option" if option else "summary"
        yield match[1] + self.asked(kind, match[2]) + match[3]
        self.at += 1

    def heading(self, match: re.Match[str]) -> Iterator[str]:
        """A heading, after its English anchor."""
        if match[1].strip() == "##":
            self.section = match[2].strip()
        new = self.asked("heading", match[2].strip())
        if new != match[2].strip() and self.anchors:
            yield f"<!-- anchor: {anchor(match[2])} -->"
            yield ""
        yield match[1] + new if new != match[2].strip() else match[0]
        self.at += 1

    def row(self, line: str) -> str:
        """One line of a table."""
        cells = re.split(r"(?<!\\)(\|)", line)
        return "".join(
            cell.replace(cell.strip(), self.asked("table", cell.strip())) if cell.strip() else cell
            for cell in cells
        )

    def quote(self, match: re.Match[str]) -> Iterator[str]:
        """One paragraph of a quotation."""
        old: list[str] = []
        while self.at < len(self.source) and (m := QUOTE.match(self.source[self.at])):
            if not m[2].strip():
                break
            old.append(self.source[self.at])
            self.at += 1
        if not old:
            yield self.source[self.at]
            self.at += 1
            return
        text = text_of(" ".join(re.sub(QUOTE, r"\2", line) for line in old))
        new = self.asked("quote", text)
        yield from old if new == text else [match[1] + new]

    def paragraph(self, line: str) -> Iterator[str]:
        """A paragraph of this indentation."""
        kind = self.box or ("question" if QUESTION.match(line) else "prose")
        if self.fences and self.fences[-1][1] == "{figure}":
            kind = "caption"
        indent = line[: len(line) - len(line.lstrip())]
        yield from self.passage(indent, kind, line.strip())

    def passage(self, prefix: str, kind: str, first: str) -> Iterator[str]:
        """Lines that Markdown joins: this one, and those that neither end nor begin a block."""
        old = [self.source[self.at]]
        is_item = bool(prefix.strip())
        self.at += 1
        while self.at < len(self.source):
            line = self.source[self.at]
            same = is_item or line[: len(line) - len(line.lstrip())] == prefix
            if not line.strip() or not same or any(p.match(line) for p in STARTS):
                break
            if BARE.match(line) and not line.lstrip().startswith("%"):
                break
            old.append(line)
            self.at += 1
        text = text_of(" ".join([first, *old[1:]]))
        new = self.asked(kind, text)
        yield from old if new == text else [prefix + new]

    def asked(self, kind: str, text: str) -> str:
        """Return what stands in the place of a passage, if it holds words."""
        return self.look(kind, text) if has_words(text) else text
