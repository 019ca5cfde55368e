"""The words that our tools write on a page, in the language of the edition that is being built.

`t("English text")` looks the text up in the catalogue `site.po` of that language; in the English
book it returns it.
"""

from collections.abc import Callable
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.locale import get_translation

CATALOGUE = "vglab"
FOLDER = "locale"  # of compiled catalogues, beside the `_config.yml` of an edition

t: Callable[[str], str] = get_translation(CATALOGUE)
SAID_BY_THEME = (  # in English in every language
    t("Color mode"),
    t("Colab logo"),
    t("Launch interactive content"),
    t("Launch on Colab"),
    t("Main"),
    t("Open issue"),
    t("Page"),
    t("Print to PDF"),
    t("Repository"),
    t("Search this book..."),
    t("Source repositories"),
    t("System Settings"),
    t("Toggle primary sidebar"),
    t("Toggle secondary sidebar"),
)


def load_words(app: Sphinx, _config: Config) -> None:
    """Give `t` the language's words, and the theme what it lacks."""
    if (Path(app.srcdir) / FOLDER).is_dir():
        app.add_message_catalog(CATALOGUE, str(Path(app.srcdir) / FOLDER))
