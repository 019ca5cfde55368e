"""What the website says outside of its pages: in scripts, in templates, in what our tools write."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from measured import COLUMNS, title, toc_files
from spoken import LABELS, svg_words
from twins import load

CALL = re.compile(
    r"""(?<![\w.])t\(\s*(?P<quote>["'`])(?P<text>(?:\\.|(?!(?P=quote)).)*)(?P=quote)""", re.S
)
CODE_COMMENT = re.compile(r"/\*.*?\*/|^\s*//.*?$", re.S | re.M)


def site_words(root: Path) -> Iterator[tuple[str, str]]:
    """Yield each text of the site once, with where it stands."""
    seen: set[str] = set()
    for where, text in every_word(root):
        if text not in seen:
            seen.add(text)
            yield where, text


def every_word(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the texts of the site, in a fixed order."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    if "title" in config:
        yield "title of the book", config["title"]
    if (root / "_toc.yml").exists():
        toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
        yield from (("part of the book", part["caption"]) for part in toc.get("parts", []))
        yield from (("title of a page", page_title(root, name)) for name in toc_files(root))
    yield from (("label of a claim", label) for label in LABELS)
    yield from (("column of What we measured", column) for column in COLUMNS)
    book = root / "book"
    for path in sorted([*(book / "_static").rglob("*.js"), *(book / "_templates").rglob("*.html")]):
        text = path.read_text(encoding="utf-8")
        yield from ((path.relative_to(book).as_posix(), word) for word in called(text))
    for path in sorted((book / "_static").glob("*.svg")):
        text = path.read_text(encoding="utf-8")
        yield from ((path.relative_to(book).as_posix(), word) for word in svg_words(text))
    for path in sorted((book / "_tools").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield from ((path.relative_to(book).as_posix(), word) for word in called_in_python(tree))


def page_title(root: Path, name: str) -> str:
    """Return the title of a page of `_toc.yml`."""
    if (root / f"{name}.ipynb").exists():
        return title(load(root / f"{name}.ipynb"))
    text = (root / f"{name}.md").read_text(encoding="utf-8")
    return next(line[2:].strip() for line in text.splitlines() if line.startswith("# "))


def called(source: str) -> Iterator[str]:
    """Yield the texts in a script's or a template's calls `t("…")`."""
    for match in CALL.finditer(CODE_COMMENT.sub("", source)):
        yield re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), match["text"])


def called_in_python(tree: ast.AST) -> Iterator[str]:
    """Yield the texts in a Python module's calls `t("…")`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="t"), args=[ast.Constant(value=str(text)), *_]):
                yield text
