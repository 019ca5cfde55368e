"""Keep the translations of the book: fill the catalogues, and list what they lack.

    python book/_tools/translate.py update zh [page …]
    python book/_tools/translate.py check zh

A page is named as below `book/`: `index`, `gradients/gradient_descent`; `site` is what scripts and
templates say. `update` makes the catalogue of each page named, and brings all others up to date.
"""

import argparse
import copy
import difflib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from babel.messages import Catalog, Message
from catalogues import (
    TERMS,
    Entry,
    dumped,
    folder,
    known,
    load_catalogue,
    merged,
    pages,
    path_of,
    save,
    translations,
)
from faults import faults
from nbformat import NotebookNode
from sitewords import site_words
from spoken import rewrite_cell, spoken
from twins import BookError, load

ROOT = Path(__file__).resolve().parents[2]
SITE = "site"


def page_cells(root: Path, page: str) -> list[NotebookNode]:
    """Return a page's cells; one that is no notebook is a single cell of Markdown."""
    book = root / "book"
    if (book / f"{page}.ipynb").exists():
        return list(load(book / f"{page}.ipynb").cells)
    if (book / f"{page}.md").exists():
        text = (book / f"{page}.md").read_text(encoding="utf-8")
        return [nbformat.v4.new_markdown_cell(text)]
    raise BookError(f"no such page: {page}; it is named as below book/, without its ending")


def entries(root: Path, page: str) -> list[Entry]:
    """List the texts of a page in the order of reading, each once."""
    if page == SITE:
        return [Entry(text, [f"{SITE}: {where}"]) for where, text in site_words(root)]
    found: dict[str, Entry] = {}
    cells = page_cells(root, page)
    for number, kind, text in spoken(cells):
        place = f", cell {number}" if len(cells) > 1 else ""
        notes = found.setdefault(text, Entry(text)).notes
        if (note := f"{page}{place}: {kind}") not in notes:
            notes.append(note)
    return list(found.values())


def updated(root: Path, language: str, page: str, memory: dict[str, str]) -> Catalog:
    """Return a page's catalogue as it would be after `update`."""
    path = path_of(root, language, page)
    old = load_catalogue(path) if path.exists() else None
    return merged(old, entries(root, page), memory)


def update(root: Path, language: str, names: list[str] | None = None) -> list[str]:
    """Bring every catalogue up to date, make those named, and say how far each one is."""
    memory = known(root, language)
    told = []
    for page in sorted({*pages(root, language), *(names or [])}):
        catalogue = updated(root, language, page, memory)
        save(catalogue, path_of(root, language, page), page, language)
        messages = [m for m in catalogue if m.id]
        ready = sum(bool(m.string) and not m.fuzzy for m in messages)
        words = sum(len(str(m.id).split()) for m in messages)
        told.append(f"{page}: {len(messages)} texts, {words} words; {ready} translated")
    return told


def problems(root: Path, language: str) -> list[str]:
    """List what is wrong with a language's catalogues, page by page; an empty list is sound."""
    if not folder(root, language).exists():
        return [f"no catalogues of {language}: make one with `update {language} index`"]
    forms = translations(path_of(root, language, TERMS))
    found = []
    for page in pages(root, language):
        try:
            messages = list(page_problems(root, language, page, forms))
        except BookError as error:
            messages = [str(error)]
        found += [f"{language}/{page}: {message}" for message in messages]
    return found


def page_problems(root: Path, language: str, page: str, forms: dict[str, str]) -> Iterator[str]:
    """Yield what one catalogue lacks, what changed in English, what is left over, and faults."""
    path = path_of(root, language, page)
    before = load_catalogue(path)
    after = updated(root, language, page, {})
    for message in after:
        if message.id:
            yield from message_problems(message, forms)
    texts = {str(m.id) for m in after} | {str(m.previous_id[0]) for m in after if m.previous_id}
    for message in before:
        if message.id and str(message.id) not in texts:
            yield f"left over, no longer in English: {shown(str(message.id))}"
    if dumped(after, page, language) != path.read_text(encoding="utf-8"):
        yield "not up to date: run `python book/_tools/translate.py update " + language + "`"


def message_problems(message: Message, forms: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong with one text's translation."""
    text, translation = str(message.id), str(message.string or "")
    where = message.auto_comments[0].split(",")[-1].split(": ", 1)[0].strip()
    if not translation:
        yield f"{where}: missing: {shown(text)}"
    elif message.fuzzy:
        old = str(message.previous_id[0]) if message.previous_id else text
        yield (
            f"{where}: changed since it was translated:\n    was: {old}\n    now: {text}"
            f"\n    difference: {difference(old, text)}"
        )
    else:
        for fault in faults(text, translation, forms):
            yield f"{where}: {fault}: {shown(translation)}"


def difference(old: str, new: str) -> str:
    """Show which words went, as [-word-], and which came, as {+word+}."""
    before, after = old.split(), new.split()
    told = []
    for tag, a, b, c, d in difflib.SequenceMatcher(a=before, b=after).get_opcodes():
        if tag == "equal":
            same = before[a:b]
            told += same if len(same) <= 6 else [*same[:3], "…", *same[-3:]]
        else:
            told += [f"[-{' '.join(before[a:b])}-]"] * (b > a)
            told += [f"{{+{' '.join(after[c:d])}+}}"] * (d > c)
    return " ".join(told)


def shown(text: str, most: int = 100) -> str:
    """Return the beginning of a text."""
    return text if len(text) <= most else text[:most] + " …"


def translated(notebook: NotebookNode, ways: dict[str, str]) -> NotebookNode:
    """Return a notebook that says everything it can in another language.

    Code, numbers, claims' anchors and links stay. What `ways` does not hold stays English. Before
    each heading that was translated, a comment holds its English anchor.
    """
    new: NotebookNode = copy.deepcopy(notebook)
    look: Callable[[str, str], str] = lambda _kind, text: ways.get(text, text)  # noqa: E731
    for cell in new.cells:
        rewrite_cell(cell, look, anchors=True)
    return new


def ways_of(root: Path, language: str, page: str) -> dict[str, str]:
    """Return how a page's texts are said: by its own catalogue first, then by the site's."""
    shared = translations(path_of(root, language, TERMS)) | translations(
        path_of(root, language, SITE)
    )
    return shared | translations(path_of(root, language, page))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    updater = commands.add_parser("update", help="bring catalogues up to date with the English")
    checker = commands.add_parser("check", help="list what is missing, changed or wrong")
    for command in (updater, checker):
        command.add_argument("language", help="a folder of book/locale, such as zh")
    updater.add_argument("pages", nargs="*", help="make the catalogues of these pages too")
    options = parser.parse_args(arguments)
    try:
        if options.command == "update":
            print("\n".join(update(ROOT, options.language, options.pages)))
            return 0
        found = problems(ROOT, options.language)
    except BookError as error:
        found = [str(error)]
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
