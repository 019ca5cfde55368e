"""Where the website is published, from `repository.url` in `_config.yml`, the one place for it."""

import re

from sphinx.config import Config

GITHUB = re.compile(r"https://github\.com/(?P<owner>[^/]+)/(?P<name>[^/]+?)(?:\.git)?/?$")


def address(config: Config) -> str:
    """Return the address that GitHub Pages gives the site, with its last slash; "" elsewhere.

    An edition that is published in a folder of the site names it in `site_folder`, as in `zh/`.
    """
    found = GITHUB.match(config.html_theme_options.get("repository_url", ""))
    if found is None:
        return ""
    return f"https://{found['owner']}.github.io/{found['name']}/{config.site_folder}"
