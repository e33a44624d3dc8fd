"""How `make docs` makes a site of these pages.

What belongs here: Sphinx' settings, and the two things that keep the pages plain Markdown: the navigation is made of the folders, in the
order in which an index names its pages, and links to files outside docs/ are text, or links to the repository at ARCHIVER_REPOSITORY_URL.
See https://www.sphinx-doc.org/en/master/usage/configuration.html and https://myst-parser.readthedocs.io.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
REPOSITORY = os.environ.get("ARCHIVER_REPOSITORY_URL", "").rstrip("/")
# The order of the parts. A part has a page index.md; what else lies in its folder is taken by itself.
PARTS = ("tutorial", "how-to", "reference", "explanation", "operations", "adr")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")

project = "Audit Archiver"
extensions = ["myst_parser"]
myst_heading_anchors = 4
myst_enable_extensions = ["tasklist"]
exclude_patterns = ["conf.py"]
smartquotes = False
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_copyright = False
linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost|git\.example\.com)\b"]
linkcheck_anchors = False
linkcheck_timeout = 20


def setup(app: Sphinx) -> None:
    """Let each page be read through the two changes of this file."""
    app.connect("source-read", lambda _app, name, source: source.__setitem__(0, _with_navigation(name, _with_outer_links(name, source[0]))))


def _with_navigation(name: str, text: str) -> str:
    """Return the page with what stands below it: the pages it links to in their order, then all others of its folder."""
    if name != "index" and not name.endswith("/index"):
        return text
    folder = (DOCS / name).parent
    linked = [target.removesuffix(".md") for _, target, _ in LINK.findall(text) if (folder / target).parent == folder]
    there = [path.stem for path in sorted(folder.glob("*.md")) if path.stem != "index"]
    entries = [*(f"{part}/index" for part in PARTS), *there] if name == "index" else dict.fromkeys([*linked, *there])
    return "\n".join([text, "```{toctree}", ":hidden:", "", *entries, "```", ""])


def _with_outer_links(name: str, text: str) -> str:
    folder = (DOCS / name).parent

    def replaced(link: re.Match[str]) -> str:
        label, target, anchor = link.groups()
        path = (folder / target).resolve()
        if "://" in target or path.is_relative_to(DOCS):
            return link[0]
        return f"[{label}]({REPOSITORY}/{path.relative_to(DOCS.parent)}{anchor or ''})" if REPOSITORY else label

    return LINK.sub(replaced, text)
