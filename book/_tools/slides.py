"""A lecture's slides, by rule from a chapter: what every chapter has is what its slides show.

The chapter's text goes to the speaker's notes. The main line is the question, the abilities, each
section's heading and first sentence, its formulas, predictions, lists and figures, and a table of
what was measured after each. Below a slide of the main line hang its details: the lesson's code
and the other findings. `slideshow: {slide_type: skip}` in a cell's metadata leaves the cell out;
`slide` and `subslide` put its code on the main line and below it.
"""

import ast
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import questions
from nbformat import NotebookNode
from sentences import Block, blocks, items, sentences, strip_math, text_of, words
from twins import is_setup

CLAIM = "application/vnd.vglab.claim+json"
ENDS = {"Sources": "end", "Solutions": "end", "Exercises": "exercises", questions.SECTION: "end"}
LISTS = {"What this does not show": "limits", "What you can do now": "close"}
MAX_LEAD, MAX_ITEM, MAX_TASK, MAX_QUESTION = 40, 30, 60, 65  # words
MAX_CODE, CODE = 80, 16  # characters a line and lines that fit at a size one can read
ROWS, LINES, ITEMS = 5, 9, 12  # rows and lines of a table, lines of a list


@dataclass
class Slide:
    """One slide: `body` holds (kind, content) in the order shown, all text as Markdown."""

    kind: str
    title: str
    part: str = ""
    body: list[tuple[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    detail: bool = False


def derive(notebook: NotebookNode) -> list[Slide]:
    """Return the slides of a chapter's executed notebook, in order."""
    asked, _ = questions.read(questions.sections(notebook).get(questions.SECTION, ""))
    walk = Walk(asked)
    for cell in notebook.cells:
        role = cell.metadata.get("slideshow", {}).get("slide_type", "")
        if role == "skip" or is_setup(cell):
            continue
        if cell.cell_type == "markdown":
            walk.markdown(cell.source)
        elif walk.mode == "content":
            walk.code(cell, role)
    walk.flush()
    return walk.slides


class Walk:
    """The state of a walk through a notebook: the slides so far, and where in the text it is."""

    def __init__(self, asked: list[questions.Question]) -> None:
        self.asked = asked
        self.slides: list[Slide] = []
        self.mode = "front"
        self.section = self.part = self.before = ""
        self.rows: list[dict[str, Any]] = []
        self.folded = False

    def add(self, kind: str, *body: tuple[str, Any], title: str = "", detail: bool = False) -> None:
        """Append a slide; findings still waiting come first."""
        self.flush()
        part = self.part if not title else ""
        self.slides.append(
            Slide(kind, title or self.section, part, list(body), [], detail and bool(self.slides))
        )

    def note(self, text: str) -> None:
        """Leave text to the speaker of the last slide."""
        if self.slides:
            self.slides[-1].notes.append(text)

    def markdown(self, source: str) -> None:
        """Walk a cell of text."""
        for block in blocks(source):
            if block.kind == "html":
                self.folded = self.folded or "<details" in block.text
                self.folded = self.folded and "</details>" not in block.text
            elif block.kind == "heading":
                self.heading(block.level, block.text)
            elif not self.folded and self.mode != "end":
                getattr(self, self.mode)(block)
            self.before = block.text if block.kind == "paragraph" else ""

    def heading(self, level: int, text: str) -> None:
        """Begin the chapter, a section or a subsection."""
        self.flush()
        if level == 1:
            self.add("title", title=text)
        elif level == 2:
            self.section, self.part = text, ""
            self.mode = ENDS.get(text, "listed" if text in LISTS else "content")
            if self.mode == "content":
                self.add("idea")
            elif self.mode == "listed":
                self.add(LISTS[text])
            elif text == questions.SECTION:
                self.quiz()
        elif self.mode == "exercises":
            self.add("exercise", title=text)
        elif self.mode == "content":
            if not self.part:
                self.part = self.section
            self.section = text
            self.add("idea")
        else:
            self.mode = "content" if self.mode == "listed" else self.mode
            if self.mode == "content":
                self.section, self.part = text, self.section
                self.add("idea")

    def front(self, block: Block) -> None:
        """Take the question and the abilities from the text before the first section."""
        if block.kind == "list":
            self.add("abilities", ("list", items(block.text)), title="After this chapter you can")
        elif block.text.startswith("Reading time"):
            self.slides[0].body.append(("small", sentences(block.text)[0]))
        elif block.text.startswith("After this chapter you can"):
            return
        elif len(self.slides) == 1:
            parts = sentences(block.text)
            asked = [s for s in parts if s.endswith("?")] or parts[:1]
            whole = words(block.text) <= MAX_QUESTION
            if not self.slides[0].body:
                text = block.text if whole else " ".join(asked)
                self.slides[0].body.append(("lead", text))
            self.note(block.text)
        else:
            self.note(block.text)

    def content(self, block: Block) -> None:
        """Take what a slide can show from a section; the rest is for the speaker."""
        lead_in = sentences(self.before)[-1] if self.before else ""
        match block.kind:
            case "formula":
                self.formula(block.text, lead_in)
            case "list":
                self.listed(block, lead_in)
            case "table":
                self.add("table", *leading(lead_in), ("table", block.text))
            case "quote" if block.text.startswith("**Predict.**"):
                self.add("predict", ("lead", block.text.removeprefix("**Predict.**").strip()))
            case _:
                opening = self.slides[-1]
                first = (sentences(block.text) or [""])[0]
                if opening.kind == "idea" and not opening.notes and not opening.body:
                    bold = "?" in self.section and first.startswith("**")  # waits for a click
                    opening.body += lead(first, "answer" if bold else "lead")
                self.note(block.text)

    def formula(self, tex: str, lead_in: str) -> None:
        """Put a formula and the sentence that leads to it on the section's slide or its own."""
        opening = self.slides[-1]
        alone = opening.kind == "idea" and not any(kind == "formula" for kind, _ in opening.body)
        if not alone or self.rows:
            self.add("formula", *leading(lead_in), ("formula", tex))
            return
        shown = [content for _, content in opening.body]
        if shown and full_stop(lead_in) == shown[-1]:
            opening.body.pop()
        opening.body += leading(lead_in)
        opening.body.append(("formula", tex))

    def listed(self, block: Block, lead_in: str = "") -> None:
        """Show a list, each point by its first sentence where it is long."""
        if block.kind != "list":
            self.note(block.text)
            return
        if self.mode == "content":
            self.add("list")
        pages = split(items(block.text), lambda item: math.ceil(len(strip_math(item)) / 66))
        for number, page in enumerate(pages):
            if number:
                self.add(self.slides[-1].kind)
            self.slides[-1].body += [*leading(lead_in if not number else ""), ("list", page)]
        self.note(block.text)

    def exercises(self, block: Block) -> None:
        """Show an exercise's task."""
        task = self.slides[-1]
        if task.kind != "exercise":
            return
        used = sum(words(content) for kind, content in task.body if kind == "text")
        if block.kind == "formula":
            task.body.append(("formula", block.text))
        elif block.kind == "list":
            task.body.append(("list", items(block.text)))
        else:
            kept: list[str] = []
            for sentence in sentences(block.text):
                used += words(sentence)
                if used > MAX_TASK and (kept or task.body):
                    break
                kept.append(sentence)
            if kept:
                task.body.append(("text", " ".join(kept)))
        self.note(block.text)

    def quiz(self) -> None:
        """Put each question of the chapter to the room; the right answers wait for a click."""
        for question in self.asked:
            self.add("quiz", ("lead", question.text), ("options", question.options))
            for option in question.options:
                self.note(f"*{option.text}* {option.verdict} {option.reason}")

    def code(self, cell: NotebookNode, role: str) -> None:
        """Show a cell's lesson, its figures, and what it measured."""
        asked = role in ("slide", "subslide")
        waiting, self.rows = self.rows, []
        for shown in [cell.source] if asked else lesson(cell.source):
            self.add("code", ("code", shown), detail=role != "slide")
        self.rows = waiting
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/svg+xml" in data:
                alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
                self.add("figure", ("figure", (data["image/svg+xml"], text_of(alt))))
                self.note(f"What is to be seen: {text_of(alt)}")
            elif CLAIM in data:
                self.rows.append(data[CLAIM])

    def flush(self) -> None:
        """Show what was measured since the last slide: numbers first, what is left below."""
        rows, self.rows = self.rows, []
        if not rows:
            return
        order = sorted(range(len(rows)), key=lambda n: rows[n]["measured"] == "yes")
        first = sorted(split(order, lambda n: height(rows[n]), ROWS, LINES)[0])
        rest = [row for n, row in enumerate(rows) if n not in first]
        pages = [[rows[n] for n in first], *(split(rest, height, ROWS, LINES) if rest else [])]
        main = [slide.kind for slide in self.slides if not slide.detail]
        for number, page in enumerate(pages):
            slide = Slide("findings", self.section, self.part, [("findings", page)])
            dull = all(row["measured"] == "yes" for row in page) and main[-1] != "predict"
            slide.detail = number > 0 or dull
            slide.notes = [f"{row['statement']}: {row['source']}." for row in page if row["source"]]
            self.slides.append(slide)


def lead(text: str, kind: str = "lead") -> Iterator[tuple[str, str]]:
    """Yield a sentence that a slide can show, unless it is too long to be read at a glance."""
    if text and words(text) <= MAX_LEAD:
        yield kind, full_stop(text)


def leading(text: str) -> Iterator[tuple[str, str]]:
    """Yield a sentence that leads to what stands below it, as it is."""
    if text and words(text) <= MAX_LEAD:
        yield "lead", text


def full_stop(sentence: str) -> str:
    """End a sentence that led to what is now on another slide."""
    return re.sub(r"[:,;]$", ".", sentence)


def lesson(source: str) -> list[str]:
    """Return what a cell's code defines, which is its lesson, in pieces that fit on a slide."""
    try:
        nodes = ast.parse(source).body
    except SyntaxError:  # a magic command
        return []
    lines = source.splitlines()
    found = []
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            start = min([node.lineno, *(line.lineno for line in node.decorator_list)])
            text = "\n".join(lines[start - 1 : node.end_lineno])
            if max(map(len, text.splitlines())) <= MAX_CODE:
                found.append(text)
    pages = split(found, lambda text: text.count("\n") + 2, room=CODE) if found else []
    return ["\n\n".join(page) for page in pages]


def height(row: dict[str, Any]) -> int:
    """Return about how many lines a finding takes."""
    columns = ((row["statement"], 42), (row["expected"], 14), (row["measured"], 17))
    return max(math.ceil(len(strip_math(text)) / width) for text, width in columns)


def split(things: list[Any], lines: Any, most: int = 6, room: int = ITEMS) -> list[list[Any]]:
    """Cut a list into pages that fit a slide."""
    pages: list[list[Any]] = [[]]
    used = 0
    for thing in things:
        if pages[-1] and (len(pages[-1]) == most or used + lines(thing) > room):
            pages.append([])
            used = 0
        pages[-1].append(thing)
        used += lines(thing)
    return pages
