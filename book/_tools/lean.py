"""The finished pages made lean: one style sheet, scripts that wait, icons and images with a size.

The theme gives every page eight style sheets and twenty scripts, most of which it needs elsewhere.
This is the last step of a build. It reads the pages as written and writes them again; a page that
is lean already stays as it is.
"""

import hashlib
import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import icons
import sheets
from sphinx.application import Sphinx

SHEET = re.compile(r'[ \t]*<link\b(?=[^>]*\brel="stylesheet")[^>]*>[ \t]*\n?')
SCRIPT = re.compile(r"[ \t]*<script\b(?P<attributes>[^>]*)>(?P<body>.*?)</script>[ \t]*\n?", re.S)
PRELOAD = re.compile(r'[ \t]*<link\b(?=[^>]*\brel="preload")(?=[^>]*\bas="script")[^>]*>[ \t]*\n?')
COMMENT = re.compile(
    r"[ \t]*<!--(?: So that users| Pre-loaded| Loaded before| Scripts loaded after"
    r"|\n\s+this give us).*?-->\n?",
    re.S,
)
VIEWPORT = re.compile(r'\s*<meta name="viewport"[^>]*>')
LOCAL = re.compile(r"(?P<root>.*?)_static/(?P<place>[^?]+)")
IMAGE = re.compile(r"<img\b[^>]*>")
ICON = re.compile(r'<(i|span) class="fa[bsr]? |<(i|span) class="fa-')
IMPORT = re.compile(r'@import\s+"([^"]+)";')
TOGETHER = re.compile(  # the theme's own scripts, in one file
    r"(near|doctools|sphinx_highlight|clipboard\.min|copybutton|togglebutton"
    r"|scripts/(bootstrap|sphinx-book-theme|pydata-sphinx-theme))\.js$"
)
# To let the keyboard reach the boxes that scroll, and no others, the theme lays out a whole page.
# Here code can be reached from the start, and what does not scroll is passed over when it is near.
TABLE_BOX = '<div class="pst-scrollable-table-container"'
SLOW = "{e.tabIndex=e.scrollWidth>e.clientWidth||e.scrollHeight>e.clientHeight?0:-1}"
CALM = f"{{vglabWhenNear(e,()=>{SLOW})}}"
AT_ONCE = "documentation_options.js"  # short, and the next scripts in the page set more of it
SEARCH = re.compile(r"(searchtools|language_data|searchindex)\.js")
UNUSED = ("scripts/fontawesome.js", "scripts/fontawesome.js.LICENSE.txt", "vendor/fontawesome")
Sheets = tuple[tuple[str, str], ...]  # the style sheets of a page, each with its medium
THEME = """\
(() => {
  const root = document.documentElement.dataset;
  let mode = null;
  try { mode = localStorage.getItem("mode"); } catch { /* storage may be closed to us */ }
  root.mode = mode || "auto";
  const dark = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.theme = root.mode === "auto" ? dark : root.mode;
})();
"""
TITLES = "fonts/source-serif-4-latin-600-normal.woff2"  # every page draws with this one
FORMULAS = tuple(f"katex/fonts/KaTeX_{name}.woff2" for name in ("Main-Regular", "Math-Italic"))


def lighten(app: Sphinx, failed: Exception | None) -> None:
    """Make the website just built lean."""
    if failed or app.builder.format != "html":
        return
    site = Path(app.outdir)
    texts = {path: path.read_text(encoding="utf-8") for path in pages(site)}
    asked = {path: wanted(text) for path, text in texts.items()}
    bundles = style_sheets(site / "_static", texts, asked)
    for path, text in texts.items():
        page = Page(text, site, path, bundles.get(asked[path], ""))
        path.write_text(page.lean(), encoding="utf-8")
    for name in UNUSED:
        target = site / "_static" / name
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    for path in (site / "_static").rglob("*.map"):
        path.unlink()


def pages(site: Path) -> Iterator[Path]:
    """Yield the pages of a website, not those of another edition below it."""
    for path in sorted(site.rglob("*.html")):
        home = next(folder for folder in path.parents if (folder / "_static").is_dir())
        if home == site and path.relative_to(site).parts[0] not in ("_static", "_sources"):
            yield path


def wanted(text: str) -> Sheets:
    """Return the style sheets that a page asks for, each with its medium."""
    links = [match[0] for match in SHEET.finditer(text.partition("</head>")[0])]
    return tuple((place(value(link, "href")), value(link, "media")) for link in links)


def style_sheets(
    static: Path, texts: dict[Path, str], asked: dict[Path, Sheets]
) -> dict[Sheets, str]:
    """Write one style sheet for each list of them that pages ask for, and return their names."""
    scripts = [
        path.read_text(encoding="utf-8")
        for path in static.rglob("*.js")
        if not re.search("fontawesome|thebe|design-tabs", path.name)
    ]
    made = {}
    for links in sorted(set(asked.values())):
        if not links or any(name.startswith("bundle.") for name, _ in links):
            continue
        known = sheets.vocabulary((texts[p] for p in texts if asked[p] == links), scripts)
        parts = [part for name, media in links for part in opened(static, name, media)]
        css = sheets.faces(sheets.bundle(parts, known), lambda name: not absent(static, name))
        css = icons.embed(css, static)
        missing = [name for name in re.findall(r'url\("([^":]+)"\)', css) if absent(static, name)]
        if missing:
            raise FileNotFoundError(f"the style sheets need what is not in _static: {missing}")
        made[links] = write(static, css, "css")
    return made


def opened(static: Path, name: str, media: str) -> Iterator[sheets.Sheet]:
    """Yield a style sheet after those that it imports; the theme's Thebe is left out."""
    if "thebe" in name:
        return
    text = (static / name).read_text(encoding="utf-8")
    for imported in IMPORT.findall(text):
        yield from opened(static, sheets.moved(imported, str(Path(name).parent)), media)
    yield sheets.Sheet(IMPORT.sub("", text), name, media)


def absent(static: Path, name: str) -> bool:
    """Tell whether a file that a style sheet names is not there."""
    return not (static / re.split("[?#]", name)[0]).exists()


def write(static: Path, text: str, kind: str) -> str:
    """Write a file named by what it holds, so that no cache keeps a former one, and return it."""
    name = f"bundle.{hashlib.sha256(text.encode()).hexdigest()[:12]}.{kind}"
    (static / name).write_text(text, encoding="utf-8")
    return name


class Page:
    """One page, as it is rewritten."""

    def __init__(self, text: str, site: Path, path: Path, css: str) -> None:
        self.text, self.site, self.path, self.css = text, site, path, css
        first = LOCAL.match(next((value(m[0], "href") for m in SHEET.finditer(text)), ""))
        self.root = first["root"] if first else ""
        self.searches = path.name == "search.html"

    def lean(self) -> str:
        """Return the page made lean; one without style sheets of the theme stays as it is."""
        if not self.css:
            return self.text
        text = self.one_sheet(self.text)
        text = PRELOAD.sub("", COMMENT.sub("", text))
        if AT_ONCE in text:  # slides have scripts of their own
            text = self.few_scripts(text)
        first, *more = VIEWPORT.findall(text)
        for again in more:
            text = text.replace(again, "", 1) if again != first else text
        text = ICON.sub(lambda m: m[0].replace(" class=", ' aria-hidden="true" class='), text)
        text = text.replace("<pre>", '<pre tabindex="0">')
        text = text.replace('role="doc-biblioentry"', 'role="listitem"')  # it stands in a list
        text = text.replace(TABLE_BOX, f'{TABLE_BOX} tabindex="0"')
        text = text.replace('data-theme="auto"', 'data-theme="light"', 1)  # without scripts
        return IMAGE.sub(self.sized, text)

    def one_sheet(self, text: str) -> str:
        """Put one link in place of the many; fonts of its first screen are asked for early."""
        links = f'<link rel="stylesheet" href="{self.root}_static/{self.css}">\n'
        for font in (TITLES, *FORMULAS) if 'class="katex"' in text else (TITLES,):
            links += (
                f'<link rel="preload" href="{self.root}_static/{font}"'
                ' as="font" type="font/woff2" crossorigin>\n'
            )
        head, end, body = text.partition("</head>")
        first = SHEET.search(head)
        assert first is not None
        return head[: first.start()] + links + SHEET.sub("", head[first.start() :]) + end + body

    def few_scripts(self, text: str) -> str:
        """Leave the scripts that the page uses: the theme's in one file, and each waits."""
        together: list[str] = []
        text = SCRIPT.sub(lambda match: self.script(match, text, together), text)
        code = ";\n".join(
            re.sub(r"//# sourceMappingURL=\S+", "", (self.static / name).read_text("utf-8"))
            for name in together
        )
        if "scripts/pydata-sphinx-theme.js" in together and code.count(SLOW) != 1:
            raise ValueError("the theme's script is another one: look for what lays out the page")
        name = write(self.static, f";{code.replace(SLOW, CALM)}\n", "js")
        tag = f'<script defer src="{self.root}_static/{name}"></script>\n'
        return text.replace(TOGETHER_HERE, tag, 1).replace(TOGETHER_HERE, "")

    @property
    def static(self) -> Path:
        """The folder of what pages load."""
        return self.site / "_static"

    def script(self, match: re.Match[str], text: str, together: list[str]) -> str:
        """Return what becomes of one script."""
        attributes, body, source = match["attributes"], match["body"], value(match[0], "src")
        kind = value(match[0], "type")
        name = place(source)
        unused = "thebe" in match[0] or "kernelName" in body or "fontawesome" in name
        unused |= "design-tabs" in name and 'class="sd-tab-' not in text
        unused |= bool(SEARCH.search(source)) and not self.searches
        if unused:
            return ""
        if "dataset.theme" in body and not source:
            return f"<script>\n{THEME}</script>\n"
        if kind in ("module", "application/json", "application/ld+json") or not source:
            return match[0]
        if name == AT_ONCE:
            return f"<script>{(self.static / name).read_text(encoding='utf-8')}</script>\n"
        if TOGETHER.match(name):
            together.append(name)
            return TOGETHER_HERE
        if re.search(r"\b(defer|async)\b", attributes):
            return match[0]
        return match[0].replace("<script", "<script defer", 1)

    def sized(self, match: re.Match[str]) -> str:
        """Give an image its size, so that the text below does not jump when it comes."""
        tag, source = match[0], value(match[0], "src")
        if re.search(r"\bwidth=", tag) or re.match("[a-z]+:", source):
            return tag
        local = LOCAL.match(source)
        path = self.static / local["place"] if local else self.path.parent / source
        width, height = size(path)
        return tag.replace("<img", f'<img width="{width}" height="{height}"', 1)


TOGETHER_HERE = "<!-- together -->"


def size(path: Path) -> tuple[int, int]:
    """Return the width and the height of a picture, in pixels."""
    data = path.read_bytes()
    if data.startswith(b"\x89PNG"):
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    if box := re.search(rb'viewBox="([^"]+)"', data):
        _, _, wide, high = map(float, box[1].split())
        return round(wide), round(high)
    raise ValueError(f"{path}: a picture must be PNG or an SVG with a viewBox")


def place(address: str) -> str:
    """Return an address below `_static/`, without what follows a question mark."""
    local = LOCAL.match(address)
    return local["place"] if local else ""


def value(tag: str, name: str) -> str:
    """Return the value of a tag's attribute, or nothing."""
    found = re.search(rf'\s{name}="([^"]*)"', tag.split(">", 1)[0])
    return found[1] if found else ""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the last step."""
    app.connect("build-finished", lighten, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
