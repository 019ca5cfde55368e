"""One style sheet from many: what no page can use is left out, what it loads still is found.

A rule stays where each class, id and element that its selector asks for is known: it stands on a
page, or it is a word of a script, which may add it later, or begins as one that a script completes:
"key-" of `key-${kind}`. What `:not()`, `:is()` and their like
hold is never a reason to drop a rule.
"""

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import tinycss2
from tinycss2 import ast

WITH_RULES = {"media", "supports", "layer", "container", "scope"}
WORD = re.compile(r"[A-Za-z_][\w-]*")
BEGUN = re.compile(r"([A-Za-z_][\w-]*-)\$\{")
TAG = re.compile(r"<([a-zA-Z][\w-]*)((?:\s[^<>]*)?)>")
NAMES = re.compile(r"""\b(?:class|id)=(?:"([^"]*)"|'([^']*)')""")
ALWAYS = {"html", "body", "from", "to"}


@dataclass(frozen=True)
class Sheet:
    """A style sheet: its text, its place below `_static/`, and the medium that it is for."""

    text: str
    place: str
    media: str = ""


def vocabulary(pages: Iterable[str], scripts: Iterable[str]) -> set[str]:
    """Return every element, class and id of the pages, and every word of the scripts."""
    known = set(ALWAYS)
    for page in pages:
        for tag, attributes in set(TAG.findall(page)):
            known.add(tag.lower())
            for double, single in NAMES.findall(attributes):
                known.update((double or single).split())
    for script in scripts:
        known.update(WORD.findall(script))
        known.update(f"{begun}*" for begun in BEGUN.findall(script))
    return known


def bundle(sheets: Iterable[Sheet], known: set[str]) -> str:
    """Join style sheets in their order; addresses in them become relative to `_static/`."""
    parts, notes = [], []
    for sheet in sheets:
        notes += re.findall(r"/\*!.*?\*/", sheet.text, re.S)
        rules = tinycss2.parse_stylesheet(sheet.text, skip_comments=True, skip_whitespace=True)
        written = "".join(kept(rules, known, posixpath.dirname(sheet.place)))
        medium = sheet.media not in ("", "all")
        parts.append(f"@media {sheet.media}{{{written}}}\n" if medium else written)
    return "".join(f"{note}\n" for note in dict.fromkeys(notes)) + "".join(parts)


def kept(rules: list[Any], known: set[str], folder: str) -> Iterator[str]:
    """Yield the rules that some page can use."""
    begun = tuple(word.removesuffix("*") for word in known if word.endswith("*"))
    for rule in rules:
        if isinstance(rule, ast.QualifiedRule):
            prelude = ",".join(
                written(selector, folder).strip()
                for selector in selectors(rule.prelude)
                if all(name in known or name.startswith(begun) for name in names(selector))
            )
            if prelude:
                yield f"{prelude}{{{written(rule.content, folder).strip()}}}\n"
        elif isinstance(rule, ast.AtRule):
            head = f"@{rule.at_keyword}{written(rule.prelude, folder).rstrip()}"
            if rule.content is None:
                if rule.lower_at_keyword != "charset":
                    yield f"{head};\n"
            elif rule.lower_at_keyword in WITH_RULES:
                inner = tinycss2.parse_rule_list(
                    rule.content, skip_comments=True, skip_whitespace=True
                )
                if text := "".join(kept(inner, known, folder)):
                    yield f"{head}{{{text}}}\n"
            else:
                yield f"{head}{{{written(rule.content, folder).strip()}}}\n"
        elif isinstance(rule, ast.ParseError):
            raise ValueError(f"a style sheet is not sound: {rule.message}")


def selectors(prelude: list[Any]) -> Iterator[list[Any]]:
    """Yield the selectors of a list that commas separate."""
    one: list[Any] = []
    for token in prelude:
        if token == ",":
            yield one
            one = []
        else:
            one.append(token)
    yield one


def names(selector: list[Any]) -> set[str]:
    """Return the classes, ids and elements that a selector asks for."""
    found = set()
    before = ""
    for token in selector:
        if isinstance(token, ast.HashToken):
            found.add(token.value)
        elif isinstance(token, ast.IdentToken):
            if before == ".":
                found.add(token.value)
            elif before != ":":
                found.add(token.lower_value)
        before = token.value if isinstance(token, ast.LiteralToken) else ""
    return found


def written(tokens: list[Any], folder: str) -> str:
    """Write tokens without comments and spare space, their addresses from `_static/`."""
    return str(tinycss2.serialize(list(slim(tokens, folder))))


def slim(tokens: list[Any], folder: str) -> Iterator[Any]:
    """Yield tokens without comments and with one space for many."""
    for token in tokens:
        if isinstance(token, ast.Comment):
            continue
        if isinstance(token, ast.WhitespaceToken):
            token.value = " "
        elif isinstance(token, ast.URLToken):
            token.value = moved(token.value, folder)
            token.representation = f'url("{token.value}")'
        elif isinstance(token, ast.FunctionBlock):
            if token.lower_name == "url":
                for inner in token.arguments:
                    if isinstance(inner, ast.StringToken):
                        inner.value = moved(inner.value, folder)
                        inner.representation = f'"{inner.value}"'
            token.arguments = list(slim(token.arguments, folder))
        elif hasattr(token, "content") and isinstance(token.content, list):
            token.content = list(slim(token.content, folder))
        yield token


def moved(address: str, folder: str) -> str:
    """Return an address within a sheet of a folder as it is from `_static/`."""
    if re.match(r"[a-z]+:|/|#", address):
        return address
    return posixpath.normpath(posixpath.join(folder, address))


FACE = re.compile(r"@font-face\s*\{([^}]*)\}\n?")
RULE = re.compile(r"([^{}]*)\{([^{}]*)\}")


def faces(css: str, present: Callable[[str], bool]) -> str:
    """Keep the fonts that rules ask for, each as the one file that every browser of today reads.

    Of a family that lies here in part (KaTeX's), a face that no rule asks for is dropped; one that
    a rule does ask for stays, and with it the name of the file that is missing.
    """
    rest = FACE.sub("", css).replace("\\ ", " ")
    asked = {face for rule in RULE.finditer(rest) for face in asks(rule[1], rule[2])}

    def one(match: re.Match[str]) -> str:
        family = (value(match[1], "font-family") or "").replace("\\ ", " ").strip("\"' ")
        face = family, value(match[1], "font-weight") or "400", value(match[1], "font-style")
        file = re.search(r"url\(\"([^\"]*\.woff2)[^)]*\)[^,;}]*", match[1])
        if family not in rest or (file and not present(file[1]) and face not in asked):
            return ""
        return re.sub(r"\bsrc:[^;}]*", f"src:{file[0]}", match[0]) if file else match[0]

    return FACE.sub(one, css)


def asks(selector: str, body: str) -> Iterator[tuple[str, str, str]]:
    """Yield the face (family, weight, style) of KaTeX's that a rule asks for."""
    family = re.search(r"\bKaTeX_\w+", body)
    weight, style = value(body, "font-weight"), value(body, "font-style")
    if family or (".katex" in selector and (weight or style)):
        yield family[0] if family else "KaTeX_Main", weight or "400", style or "normal"


def value(body: str, name: str) -> str | None:
    """Return what a declaration in a rule's body says."""
    found = re.search(rf"(?:^|;)\s*{name}:\s*([^;]+)", body)
    return found[1].strip() if found else None
