"""What the website needs beyond Jupyter Book: a Sphinx extension, named in `_config.yml`."""

import re
from typing import Any

from checks import problems
from decks import write_decks
from described import setup as describe_pages
from docutils import nodes
from figures import InlineFigures
from formulas import setup as set_formulas
from languages import original
from lean import setup as make_lean
from measured import ClaimFormulas, Measured
from paths import setup as name_paths
from running import Costs, OtherData
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from teaching import Chapters, slides_role

LONG_FORMULA = 60  # characters of TeX


class KeepPunctuation(SphinxPostTransform):
    """Keep the full stop after a formula on the formula's line."""

    default_priority = 100
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Walk the page's formulas; a long one may still break from what follows."""
        for formula in list(self.document.findall(nodes.math)):
            after = formula.next_node(descend=False, siblings=True)
            mark = (
                re.match(r"[.,;:!?)’”，。；：！？）、]+", after.astext())
                if isinstance(after, nodes.Text)
                else None
            )
            if mark and len(formula.astext()) < LONG_FORMULA:
                together = nodes.inline("", "", formula.deepcopy(), nodes.Text(mark[0]))
                together["classes"] = ["nowrap"]
                formula.parent.replace(after, nodes.Text(after.astext()[mark.end() :]))
                formula.replace_self(together)


def set_theme(_app: Sphinx, config: Config) -> None:
    """Write the book's title beside its logo; colour code with enough contrast for everyone."""
    config.html_theme_options |= {
        "logo": {"text": config.html_title},
        "pygments_light_style": "github-light-high-contrast",
        "pygments_dark_style": "github-dark-high-contrast",
    }


def refuse_unsound_book(app: Sphinx) -> None:
    """Stop before anything is built from notebooks that are stale or hold an error."""
    if found := problems(original(app)):
        raise ExtensionError("the notebooks are not sound:\n  " + "\n  ".join(found))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the parts with Sphinx."""
    set_formulas(app)
    make_lean(app)
    describe_pages(app)
    name_paths(app)
    app.setup_extension("reading")
    app.setup_extension("languages")
    app.connect("config-inited", set_theme)
    app.connect("builder-inited", refuse_unsound_book)
    app.connect("build-finished", write_decks)
    app.add_directive("measured", Measured)
    app.add_directive("chapters", Chapters)
    app.add_directive("costs", Costs)
    app.add_directive("other-data", OtherData)
    app.add_role("slides", slides_role)
    app.add_post_transform(ClaimFormulas)
    app.add_post_transform(KeepPunctuation)
    app.add_post_transform(InlineFigures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
