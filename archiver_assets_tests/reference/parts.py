"""Generated parts of pages: between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.

What belongs here: finding and replacing them, and tables in Markdown. What does not: what is in any of them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from archiver_assets_tests.pages import ROOT

ESCAPED = "\\|"
"""A bar inside of a cell, also in code."""
REFERENCE = ROOT / "docs" / "reference"


@dataclass(frozen=True)
class Part:
    """A part of a page, and what makes it."""

    page: Path
    name: str
    make: Callable[[], str]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.name}"


def written(page: str, name: str) -> str:
    """Return what stands in a page's part."""
    return page.partition(f"<!-- {name}: begin -->\n")[2].partition(f"<!-- {name}: end -->\n")[0]


def replaced(page: str, name: str, text: str) -> str:
    """Return the page with another text in a part. Raises ValueError if it has no such part."""
    before, begin, rest = page.partition(f"<!-- {name}: begin -->\n")
    _, end, after = rest.partition(f"<!-- {name}: end -->\n")
    if not begin or not end:
        message = f"expected the lines `<!-- {name}: begin -->` and `<!-- {name}: end -->` where the part is to stand, found none"
        raise ValueError(message)
    return f"{before}<!-- {name}: begin -->\n{text}<!-- {name}: end -->\n{after}"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, with an empty line before and after it."""
    lines = [f"| {' | '.join(heading)} |", f"|{'---|' * len(heading)}"]
    lines += [f"| {' | '.join(each.replace('|', ESCAPED).replace(chr(10), ' ') for each in row)} |" for row in rows]
    return "\n" + "\n".join(lines) + "\n\n"
