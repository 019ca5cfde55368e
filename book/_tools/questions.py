"""The questions of a chapter's section `## Check yourself`, read from its Markdown.

A question is one paragraph, and each option a box that unfolds to say whether it is right, and why:

    **Question 1.** You halve every weight. What becomes of the gradient?

    <details><summary>It stays as it is.</summary>

    **No.** Each layer that the signal crosses multiplies it by the stretch of its weights.

    </details>

`book/_static/quiz.js` makes a form of it on the website; everywhere else the boxes do.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nbformat import NotebookNode

EVERY_CHAPTER = True  # must every chapter that has exercises have questions?
SECTION, BEFORE, AFTER = "Check yourself", "Exercises", "What you can do now"
FEWEST, MOST = 3, 5
VERDICTS = ("Right.", "No.", "Not quite.")
MIN_WORDS = 6  # of a reason
QUESTION = re.compile(r"\*\*Question (?P<number>\d+)\.\*\*\s+(?P<text>.+)", re.S)
OPTION = re.compile(
    r"^<details><summary>(?P<text>[^\n]+)</summary>\n\n(?P<body>.+?)\n\n</details>$", re.S | re.M
)
BODY = re.compile(r"\*\*(?P<verdict>[^*]+)\*\*\s+(?P<reason>.+)", re.S)
MARKUP = re.compile(r"\$|`|\*\*|\]\(")  # Markdown's: within <summary> it would stay as it is


@dataclass(frozen=True)
class Option:
    """One answer to choose: its text (HTML), the verdict on it, and the reason (Markdown)."""

    text: str
    verdict: str
    reason: str

    @property
    def right(self) -> bool:
        """Tell whether this is an answer to choose."""
        return self.verdict == "Right."


@dataclass(frozen=True)
class Question:
    """One question, and its options in the order of the page."""

    number: int
    text: str
    options: tuple[Option, ...]


def sections(notebook: NotebookNode) -> dict[str, str]:
    """Return what stands below each heading of the second level, by the heading, in order."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    parts = re.split(r"^## (.+)$", text, flags=re.M)
    return {title.strip(): body for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def read(section: str) -> tuple[list[Question], list[str]]:
    """Read a section: its questions, and the paragraphs that are no part of one."""
    questions: list[Question] = []
    strays: list[str] = []
    position = 0
    for option in [*OPTION.finditer(section), None]:
        between = section[position : option.start() if option else None]
        for paragraph in re.split(r"\n{2,}", between.strip("\n")):
            if match := QUESTION.fullmatch(paragraph):
                questions.append(Question(int(match["number"]), one_line(match["text"]), ()))
            elif paragraph:
                strays.append(paragraph)
        if option:
            position = option.end()
            if questions:
                last = questions.pop()
                made = read_option(option)
                questions.append(Question(last.number, last.text, (*last.options, made)))
            else:
                strays.append(option[0])
    return questions, strays


def read_option(match: re.Match[str]) -> Option:
    """Read one option; the verdict of one that has none is empty."""
    body = BODY.fullmatch(match["body"])
    verdict, reason = (body["verdict"], body["reason"]) if body else ("", match["body"])
    return Option(one_line(match["text"]), one_line(verdict), one_line(reason))


def one_line(text: str) -> str:
    """Undo the breaking of lines."""
    return " ".join(text.split())


def question_problems(notebook: NotebookNode) -> Iterator[str]:
    """Yield what is wrong with a chapter's questions."""
    found = sections(notebook)
    if SECTION not in found:
        if EVERY_CHAPTER and BEFORE in found:
            yield f"no section `## {SECTION}`: a chapter with exercises has questions too"
        return
    titles = list(found)
    place = titles.index(SECTION)
    if titles[place - 1 : place] != [BEFORE] or titles[place + 1 : place + 2] != [AFTER]:
        yield f"`## {SECTION}` must stand between `## {BEFORE}` and `## {AFTER}`"
    questions, strays = read(found[SECTION])
    for stray in strays:
        yield f"{SECTION}: neither a question nor an option: {one_line(stray)[:60]!r}"
    if not FEWEST <= len(questions) <= MOST:
        yield f"{SECTION}: {len(questions)} questions; {FEWEST} to {MOST} are wanted"
    if [q.number for q in questions] != list(range(1, len(questions) + 1)):
        yield f"{SECTION}: the questions are not numbered 1, 2, 3 …"
    for text in repeated(question.text for question in questions):
        yield f"{SECTION}: two questions are the same: {text[:60]!r}"
    for question in questions:
        for message in option_problems(question):
            yield f"question {question.number}: {message}"
    yield from giveaways(questions)


def option_problems(question: Question) -> Iterator[str]:
    """Yield what is wrong with one question's options."""
    right = [option.right for option in question.options]
    if len(right) < 2:
        yield f"{len(right)} options; at least two are needed"
    elif all(right) or not any(right):
        yield "needs an option that is right and one that is not"
    for text in repeated(option.text for option in question.options):
        yield f"two options are the same: {text!r}"
    for text in repeated(option.reason for option in question.options):
        yield f"two options have the same reason: {text[:60]!r}"
    for option in question.options:
        if option.verdict not in VERDICTS:
            yield f"{option.text!r} must unfold to **{'**, **'.join(VERDICTS)}** and the reason"
        elif len(option.reason.split()) < MIN_WORDS:
            yield f"{option.text!r} does not say why: {option.reason!r}"
        if match := MARKUP.search(option.text):
            yield f"{option.text!r} holds {match[0]!r}: an option is HTML, say σ<sub>w</sub> = 2"


def giveaways(questions: list[Question]) -> Iterator[str]:
    """Yield how a reader could find every right answer without knowing it."""
    places = {tuple(n for n, o in enumerate(q.options, start=1) if o.right) for q in questions}
    if len(questions) > 1 and len(places) == 1:
        yield f"{SECTION}: the right answer always stands at the same place: move some"
    longest = [max(q.options, key=lambda o: len(o.text)).right for q in questions if q.options]
    if len(questions) > 1 and all(longest):
        yield f"{SECTION}: the right answer is always the longest: shorten some"


def repeated(texts: Iterator[str]) -> list[str]:
    """Return the texts that occur more than once."""
    every = list(texts)
    return sorted({text for text in every if every.count(text) > 1})
