"""The project's pages in Markdown: which they are, and their parts.

What belongs here: finding pages, headings and blocks of code. What does not: what is to be true of them, which the tests say.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = tuple(sorted(path.relative_to(ROOT) for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md") for path in ROOT.glob(pattern)))
FENCED = re.compile(r"^( *)(```+).*?^\1\2$", re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """Return a page without its blocks of code and without code in its lines."""
    return re.sub(r"(?<!`)`[^`\n]+`(?!`)", "``", FENCED.sub("", text))


def headings(text: str) -> set[str]:
    """Return the anchors of a page's headings, as hosts of repositories make them: a second one of the same words has `-1` behind it."""
    anchors: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.+?) *$", FENCED.sub("", text), re.MULTILINE):
        anchor = re.sub(r"[^\w -]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        anchors[anchor] = anchors.get(anchor, -1) + 1
    return {anchor if not n else f"{anchor}-{n}" for anchor, last in anchors.items() for n in range(last + 1)}
