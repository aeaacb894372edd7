"""Sphinx's settings: the pages stay where the code host shows them, the site orders them by reader.

The repository is the source folder, so that a link from one page to another is the same in both
places; what the site adds is which page stands where, and the reference.
"""

import re
import shutil
import sys
from pathlib import Path

from sphinx.util import logging

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import reference  # noqa: E402 - beside this file

#: Who reads -> the pages. A page that is in none is an error.
READERS = {
    "Try it": [
        "docs/ask",
        "docs/listen",
        "docs/python",
        "docs/conversations",
        "docs/serving",
        "docs/page",
        "docs/huggingface",
        "docs/weights",
        "pal_plugin/pocket/README",
        "docs/install",
    ],
    "Train it": [
        "docs/own_clips",
        "docs/training",
        "docs/data",
        "docs/evaluation",
        "docs/lmms_eval",
        "docs/full_size",
        "docs/planning",
        "projects/pal/small/README",
        "projects/pal/mini/README",
    ],
    "Extend it": ["docs/adding", "docs/xares", "CONTRIBUTING"],
    "How it works": [
        "docs/lal",
        "docs/results",
        "docs/measured",
        "docs/soundworld",
        "docs/spoken",
        "docs/notes",
    ],
    "Reference": [
        "docs/configuration",
        "docs/formats",
        "docs/glossary",
        "docs/api/index",
        "CHANGELOG",
    ],
}
LINK = re.compile(r"\[([^\]]+)\]\(([^)#:\s]+)\)")

project = "pal_plugin"
release = re.search(r'"(.+)"', (ROOT / "pal_plugin" / "version.py").read_text("utf-8"))[1]
extensions = ["myst_nb"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/*.ipynb", "docs/api/*.md", "projects/**/*.md"]
include_patterns += ["pal_plugin/pocket/*.md"]
# Folders that are not even looked through.
exclude_patterns = [".*", "benchmarks", "build", "dist", "output", "tests"]
exclude_patterns += ["*.egg-info", "docs/_build", "**/__pycache__", "pal_plugin/[!p]*"]

myst_enable_extensions = ["fieldlist"]
myst_heading_anchors = 4
# Prose of docstrings that only looks like a comment, a target or HTML.
myst_disable_syntax = ["html_block", "html_inline", "myst_line_comment", "myst_target"]
nb_execution_mode = "off"  # outputs are those in the file; tests/test_notebook.py runs it

html_theme = "furo"
html_title = f"pal_plugin {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False
suppress_warnings = ["ref.python"]  # a type of a name that two modules have, written as a string
toc_object_entries_show_parents = "hide"


def write_reference(app) -> None:
    warn = logging.getLogger(__name__).warning
    for complaint in reference.write(ROOT, "pal_plugin", ROOT / "docs" / "api"):
        warn(complaint)


def arrange(app, page: str, source: list[str]) -> None:
    """The start page gets the navigation; links to folders, which no site has, become text."""

    def written(match: re.Match) -> str:
        target = ((ROOT / page).parent / match[2]).resolve()
        return f"{match[1]} (`{target.relative_to(ROOT)}`)" if target.is_dir() else match[0]

    if not page.startswith("docs/api/"):
        source[0] = LINK.sub(written, source[0])
    if page == root_doc:
        for reader, pages in READERS.items():
            lines = ["```{toctree}", ":hidden:", f":caption: {reader}", "", *pages, "```"]
            source[0] += "\n" + "\n".join(lines) + "\n"


def name_the_start(app, error) -> None:
    if error is None and app.builder.name == "html":
        shutil.copyfile(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")


def setup(app) -> None:
    app.connect("builder-inited", write_reference)
    app.connect("source-read", arrange)
    app.connect("build-finished", name_the_start)
