"""Catalogues of translations: PO files, one for each page, in `book/locale/<language>/`."""

import difflib
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from babel.messages import Catalog, Message
from babel.messages.pofile import denormalize, read_po, write_po
from twins import BookError, write

SPHINX_NAMES = {"zh": "zh_CN"}
TERMS = "terms"  # words and forms that all pages share; written by hand, never by `update`
UNBROKEN = 1_000_000  # characters in a line; with 0, babel breaks the previous texts
ALIKE = 0.6  # a text this like one that went is the same one, changed
HEADER = """\
# {page}: what the book says in English, and how it says it in {language}.
# Fill in each msgstr; take away "#, fuzzy" where a translation is right again.
msgid ""
msgstr ""
"Language: {locale}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""


@dataclass
class Entry:
    """A text to translate, with notes on where it stands."""

    text: str
    notes: list[str] = field(default_factory=list)


def folder(root: Path, language: str) -> Path:
    """Return where a language's catalogues are."""
    return root / "book" / "locale" / language


def path_of(root: Path, language: str, page: str) -> Path:
    """Return the file of a page's catalogue; a page is named as below `book/`."""
    return folder(root, language) / f"{page}.po"


def pages(root: Path, language: str) -> list[str]:
    """List what has a catalogue, by name."""
    home = folder(root, language)
    names = (path.relative_to(home).with_suffix("").as_posix() for path in home.rglob("*.po"))
    return sorted(name for name in names if name != TERMS)


def load_catalogue(path: Path) -> Catalog:
    """Read a PO file, with the previous texts of what changed."""
    try:
        catalogue = read_po(io.BytesIO(path.read_bytes()), charset="utf-8", abort_invalid=True)
    except ValueError as error:
        raise BookError(f"{path.name} is not a readable catalogue: {error}") from error
    for message in [*catalogue, *catalogue.obsolete.values()]:
        previous = [c[1:].strip() for c in message.user_comments if c.startswith("|")]
        if previous:
            message.previous_id = [denormalize("\n".join(previous).removeprefix("msgid "))]
        message.user_comments = [c for c in message.user_comments if not c.startswith("|")]
    return catalogue


def dumped(catalogue: Catalog, page: str, language: str) -> str:
    """Return a catalogue's file as text: in its own order, no dates, no broken lines."""
    body = io.BytesIO()
    write_po(body, catalogue, width=UNBROKEN, omit_header=True, include_previous=True)
    locale = SPHINX_NAMES.get(language, language)
    head = HEADER.format(page=page, language=language, locale=locale)
    return head + body.getvalue().decode("utf-8").strip() + "\n"


def save(catalogue: Catalog, path: Path, page: str, language: str) -> None:
    """Write a catalogue's file."""
    write(path, dumped(catalogue, page, language))


def merged(old: Catalog | None, entries: Iterable[Entry], memory: dict[str, str]) -> Catalog:
    """Bring a catalogue up to date with the texts of its page, in the order of reading.

    A text that is as before keeps its translation. One that changed keeps it too, as fuzzy, with
    the text that it belonged to. What went is kept as obsolete. A new one is empty, unless `memory`
    knows how it is said elsewhere.
    """
    before = {str(m.id): m for m in old or [] if m.id}
    gone = {str(m.id): m for m in (old.obsolete.values() if old else [])}
    new = Catalog(charset="utf-8")
    texts = {entry.text: entry for entry in entries}
    gone |= {text: m for text, m in before.items() if text not in texts and m.string}
    for entry in texts.values():
        message = Message(entry.text, auto_comments=entry.notes)
        message.flags.clear()  # babel takes a formula's braces for Python's
        if source := before.get(entry.text) or gone.pop(entry.text, None):
            take(message, source, source.previous_id if source.fuzzy else ())
        message.string = message.string or remembered(entry.text, memory)
        new[entry.text] = message
    for message in [m for m in new if m.id and not m.string]:
        if match := difflib.get_close_matches(str(message.id), gone, n=1, cutoff=ALIKE):
            source = gone.pop(match[0])
            message.flags.add("fuzzy")
            take(message, source, source.previous_id or (match[0],))
    for text, message in gone.items():
        message.auto_comments = []
        new.obsolete[text] = message
    return new


def take(message: Message, source: Message, previous: Sequence[str]) -> None:
    """Take over a translation, what is noted about it, and the text that it was made for."""
    message.string, message.user_comments = source.string, source.user_comments
    message.flags |= source.flags & {"fuzzy"}
    message.previous_id = list(previous)
    if message.previous_id == [message.id]:  # changed, and changed back
        message.flags.discard("fuzzy")
        message.previous_id = []


def remembered(text: str, memory: dict[str, str]) -> str:
    """Return how a text is said elsewhere, if it is; "Solution 2" is said as "Solution {n}" is."""
    if text in memory:
        return memory[text]
    numbers = re.findall(r"\d+", text)
    form = memory.get(re.sub(r"\d+", "{n}", text), "") if len(numbers) == 1 else ""
    return form.replace("{n}", numbers[0]) if form else ""


def known(root: Path, language: str) -> dict[str, str]:
    """Return the translations that all catalogues agree on; the terms come before the pages."""
    terms = translations(path_of(root, language, TERMS))
    found: dict[str, set[str]] = {}
    for page in pages(root, language):
        for text, translation in translations(path_of(root, language, page)).items():
            found.setdefault(text, set()).add(translation)
    return {text: min(ways) for text, ways in found.items() if len(ways) == 1} | terms


def translations(path: Path) -> dict[str, str]:
    """Return what a catalogue translates, without what is fuzzy."""
    if not path.exists():
        return {}
    messages = load_catalogue(path)
    return {str(m.id): str(m.string) for m in messages if m.id and m.string and not m.fuzzy}
