"""A throw-away book, built once and copied for each test."""

import shutil
from pathlib import Path

import pytest
from in_browser import browser, figures, open_figure  # noqa: F401 (fixtures)
from throwaway import ADDRESS, NAME, TWIN, notebooks, twins


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("book")
    (root / "_config.yml").write_text(f"repository: {{url: {ADDRESS}}}\n")
    twins.write(root / "book" / "_source" / f"{NAME}.md", TWIN)
    assert notebooks.build(root) == []
    return root


@pytest.fixture
def book(built, tmp_path):
    return Path(shutil.copytree(built, tmp_path / "copy"))
