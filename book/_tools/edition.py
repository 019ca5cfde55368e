"""Build the book in another language, as a part of the website: `edition.py zh` gives `html/zh/`.

Its source, made of the English pages and their catalogues, is a book of its own in `_build/zh`.
Links to a page that is not translated lead to the English one: `english://book/….html` in the
source, until the page is written and knows where it lies.
"""

import argparse
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from babel.messages import Catalog
from babel.messages.mofile import write_mo
from catalogues import SPHINX_NAMES, TERMS, folder, pages, path_of, translations
from measured import toc_files
from nbformat import NotebookNode
from passages import rewrite
from sitewords import page_title, site_words
from spoken import rewrite_svg
from translate import ROOT, SITE, translated, ways_of
from twins import BookError, dump, load, write
from words import CATALOGUE, FOLDER, SAID_BY_THEME

ENGLISH = "english://"
PLACE = re.compile(r'href="english://([^"#]*)(#[^"]*)?"')
OUTSIDE = f'" href="{ENGLISH}'  # as Sphinx marks a link with a scheme
CHROME = re.compile(  # what the theme says: in labels and on buttons
    r'((?:title|aria-label|placeholder|alt)="|btn__text-container">)'
    rf'({"|".join(map(re.escape, map(str, SAID_BY_THEME)))})(?=["<])'
)
LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)\.(?:ipynb|md)(#[^)\s]*)?\)")
CARD = re.compile(r"^:link: (\S+)\n:link-type: doc$", re.M)
NEEDED = ("references.bib",)


def translated_pages(root: Path, language: str) -> list[str]:
    """List the pages of `_toc.yml` that have a catalogue, such as `book/index`, in its order."""
    ready = {f"book/{page}" for page in pages(root, language)}
    return [name for name in toc_files(root) if name in ready]


def languages(root: Path) -> list[str]:
    """List the languages that the book is translated into."""
    home = root / "book" / "locale"
    found = sorted(path.name for path in home.iterdir()) if home.is_dir() else []
    return [language for language in found if translated_pages(root, language)]


def source_of(root: Path, language: str) -> Path:
    """Return the folder of an edition's source."""
    return root / "_build" / language


def write_source(root: Path, language: str) -> Path:
    """Write the book that Jupyter Book turns into an edition, and return its folder."""
    home, names = source_of(root, language), translated_pages(root, language)
    if not names or names[0] != toc_files(root)[0]:
        raise BookError(f"the front page has no catalogue in {folder(root, language)}")
    shutil.rmtree(home, ignore_errors=True)
    for name in names:
        write_page(root, language, name, names)
    ways = ways_of(root, language, SITE)
    shutil.copytree(root / "book" / "_static", home / "book" / "_static")
    for picture in (home / "book" / "_static").glob("*.svg"):
        text = picture.read_text(encoding="utf-8")
        write(picture, rewrite_svg(text, lambda _kind, old: ways.get(old, old)))
    for name in NEEDED:
        shutil.copy(root / "book" / name, home / "book" / name)
    write_words(root, language)
    write(home / "_toc.yml", dumped(contents(root, names, ways)))
    write(home / "_config.yml", dumped(settings(root, language, names, ways)))
    return home


def write_page(root: Path, language: str, name: str, names: list[str]) -> None:
    """Write a page in another language; its code, its numbers and its anchors are the same."""
    home, ways = source_of(root, language), ways_of(root, language, name.removeprefix("book/"))
    if (root / f"{name}.ipynb").exists():
        notebook: NotebookNode = translated(load(root / f"{name}.ipynb"), ways)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = linked(cell.source, name, toc_files(root), names)
        write(home / f"{name}.ipynb", dump(notebook))
    else:
        text = (root / f"{name}.md").read_text(encoding="utf-8")
        text = rewrite(text, lambda _kind, old: ways.get(old, old), anchors=True)
        write(home / f"{name}.md", linked(text, name, toc_files(root), names))


def linked(text: str, name: str, every: list[str], names: list[str]) -> str:
    """Lead a page's links to the English edition where their page is not translated."""

    def away(target: str) -> str | None:
        page = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        return f"{ENGLISH}{page}.html" if page in every and page not in names else None

    def link(match: re.Match[str]) -> str:
        address = away(match[1])
        return f"]({address}{match[2] or ''})" if address else match[0]

    def card(match: re.Match[str]) -> str:
        address = away(match[1])
        return f":link: {address}\n:link-type: url" if address else match[0]

    return CARD.sub(card, LINK.sub(link, text))


def write_words(root: Path, language: str) -> None:
    """Compile what our tools write, so that Sphinx finds it."""
    catalogue = Catalog()
    for text, translation in ways_of(root, language, SITE).items():
        catalogue.add(text, translation).flags.clear()
    locale = SPHINX_NAMES.get(language, language)
    path = source_of(root, language) / FOLDER / locale / "LC_MESSAGES" / f"{CATALOGUE}.mo"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        write_mo(file, catalogue)


def contents(root: Path, names: list[str], ways: dict[str, str]) -> Any:
    """Return the edition's table of contents, with links to the English pages among its own."""

    def entry(old: Any) -> Any:
        if isinstance(old, list):
            return [entry(one) for one in old]
        if not isinstance(old, dict):
            return old
        new = {key: entry(value) for key, value in old.items()}
        if "caption" in new:
            new["caption"] = ways.get(new["caption"], new["caption"])
        if "file" in new and new["file"] not in names:
            title = page_title(root, new["file"])
            new = {"url": f"{ENGLISH}{new['file']}.html", "title": ways.get(title, title)}
        return new

    return entry(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8")))


def settings(root: Path, language: str, names: list[str], ways: dict[str, str]) -> Any:
    """Return the edition's `_config.yml`: the English one, but for what a language changes."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    config["title"] = ways.get(config["title"], config["title"])
    config.setdefault("parse", {})["myst_url_schemes"] = [
        "mailto",
        "http",
        "https",
        ENGLISH.removesuffix("://"),
    ]
    sphinx = config["sphinx"]
    sphinx["local_extensions"] = {
        extension: posixpath.join("..", "..", path)
        for extension, path in sphinx["local_extensions"].items()
    }
    scripts = {text for where, text in site_words(root) if where.endswith(".js")}
    titles = {name: page_title(root, name) for name in toc_files(root)}
    words = translations(path_of(root, language, TERMS))
    sphinx["config"] |= {
        "language": SPHINX_NAMES.get(language, language),
        "html_search_language": language,
        "site_folder": f"{language}/",
        "vglab_edition": {
            "language": language,
            "root": "../..",
            "titles": {name: ways.get(title, title) for name, title in titles.items()},
            "strings": {text: ways[text] for text in sorted(scripts) if text in ways},
            "words": sorted(set(words.values())),
        },
    }
    return config


def dumped(value: Any) -> str:
    """Return a value as YAML."""
    return str(yaml.safe_dump(value, allow_unicode=True, sort_keys=False))


def build(root: Path, language: str) -> int:
    """Write an edition's source, build it, put it into the website, and return its exit status."""
    home = write_source(root, language)
    code = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    options = ["--all", "-W", "-n", "--keep-going", "--quiet"]
    done = subprocess.run([sys.executable, "-c", code, "build", ".", *options], cwd=home)
    if done.returncode == 0:
        ways = ways_of(root, language, SITE)
        place(home / "_build" / "html", root / "_build" / "html" / language, ways)
    return done.returncode


def place(built: Path, target: Path, ways: dict[str, str]) -> None:
    """Move an edition into the website; lead its links to the English pages there."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(built, target)
    for name in ("404.html", "robots.txt"):  # a host reads them at the root only
        (target / name).unlink(missing_ok=True)
    robots = target.parent / "robots.txt"
    if robots.exists():
        text = robots.read_text(encoding="utf-8")
        own = text.replace("/sitemap.xml", f"/{target.name}/sitemap.xml").strip().splitlines()[-1]
        if own not in text:
            write(robots, f"{text}{own}\n")
    for path in target.rglob("*.html"):
        here = posixpath.dirname(posixpath.join(target.name, path.relative_to(target).as_posix()))

        def english(match: re.Match[str], here: str = here) -> str:
            address = posixpath.relpath(match[1], here)
            return f'href="{address}{match[2] or ""}" hreflang="en"'

        text = path.read_text(encoding="utf-8").replace(f"external{OUTSIDE}", f"internal{OUTSIDE}")
        text = CHROME.sub(lambda match: match[1] + ways.get(match[2], match[2]), text)
        write(path, PLACE.sub(english, text))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("language", help="a folder of book/locale, such as zh")
    options = parser.parse_args(arguments)
    try:
        return build(ROOT, options.language)
    except BookError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
