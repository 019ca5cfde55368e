"""Structural faults of a translation: what it must keep of the English, and does not."""

import re
from collections import Counter
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.myst_role import myst_role_plugin

READ = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin).use(myst_role_plugin)
NUMBER = re.compile(r"[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?")
BLANK = re.compile(r"\{\w+\}")
LEAD = re.compile(r"\*\*([^*]+)\*\*")
NAMED = {  # parts of Markdown that both must have alike
    "formula": "formula",
    "code": "code span",
    "link": "link to",
    "image": "image",
    "tag": "HTML tag",
    "role": "role",
    "blank": "blank",
    "strong": "bold",
    "em": "emphasis",
}
# Where the English counts in words, a translation may count in figures.
COUNTS = re.compile(
    r"\b(zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen"
    r"|(twen|thir|for|fif|six|seven|eigh|nine)ty|hundreds?|thousands?|millions?|first|second|third"
    r"|(four|fif|six|seven|eigh|nin|ten|twentie|hundred|thousand|million)ths?|thirds|half|halves"
    r"|halved?|twice|double|once|single|quarters?|both|pairs?|dozen)\b",
    re.I,
)
STILL_ENGLISH = 6  # words that are the same in both


def faults(text: str, translation: str, forms: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong with a translation; `forms` are the agreed ones, as "Question {n}."."""
    if translation != translation.strip() or "\n" in translation:
        yield "space at an end, or a broken line: a translation is one line"
    if translation == text and len(text.split()) >= STILL_ENGLISH:
        yield "is still English"
    here, there = parts(text), parts(translation)
    for (kind, content), count in (here - there).items():
        yield f"lost {count} × {NAMED[kind]} {content}".rstrip()
    for (kind, content), count in (there - here).items():
        yield f"added {count} × {NAMED[kind]} {content}".rstrip()
    if [t.type for t in READ.parse(text)] != [t.type for t in READ.parse(translation)]:
        yield "is no longer one block of the same kind: mind what begins it"
    yield from number_faults(plain(text), plain(translation))
    yield from form_faults(text, translation, forms)


def number_faults(text: str, translation: str) -> Iterator[str]:
    """Yield numbers that went or came."""
    here, there = numbers(text), numbers(translation)
    for number in (here - there).elements():
        yield f"lost the number {number}"
    if not COUNTS.search(text):
        for number in (there - here).elements():
            yield f"added the number {number}"


def form_faults(text: str, translation: str, forms: dict[str, str]) -> Iterator[str]:
    """Yield where bold words that begin a text are not in the form that all pages share."""
    lead = LEAD.match(text)
    form = forms.get(re.sub(r"\d+", "{n}", lead[1])) if lead else None
    if lead and form:
        number = re.search(r"\d+", lead[1])
        wanted = f"**{form.replace('{n}', number[0]) if number else form}**"
        if not re.match(re.escape(wanted) + r"(\s|$)", translation):
            yield f"must begin with {wanted} and a space"


def parts(text: str) -> Counter[tuple[str, str]]:
    """Count a text's formulas, code spans, links, images, tags, roles and blanks."""
    found: Counter[tuple[str, str]] = Counter()
    for token in inline(text):
        content = " ".join(token.content.split())
        if token.type in ("math_inline", "math_inline_double"):
            found["formula", f"${content}$"] += 1
        elif token.type == "code_inline":
            found["code", f"`{content}`"] += 1
        elif token.type == "link_open":
            found["link", str(token.attrGet("href"))] += 1
        elif token.type == "image":
            found["image", str(token.attrGet("src"))] += 1
        elif token.type == "html_inline":
            found["tag", content] += 1
        elif token.type == "myst_role":
            target = re.search(r"<([^>]+)>$", content)
            found["role", f"{{{token.meta['name']}}}`{target[1] if target else content}`"] += 1
        elif token.type in ("strong_open", "em_open"):
            found[token.type.removesuffix("_open"), ""] += 1
    found.update(("blank", blank) for blank in BLANK.findall(plain(text)))
    return found


def inline(text: str) -> list[Token]:
    """Return the tokens within a text."""
    return READ.parseInline(text)[0].children or []


def plain(text: str) -> str:
    """Return the words of a text, without formulas, code, tags and addresses."""
    return "".join(t.content if t.type == "text" else " " for t in inline(text))


def numbers(text: str) -> Counter[str]:
    """Count a text's numbers, however their thousands are set off."""
    return Counter(number.replace(",", "") for number in NUMBER.findall(BLANK.sub(" ", text)))
