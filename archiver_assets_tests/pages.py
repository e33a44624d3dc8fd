"""The project's pages in Markdown: which they are, their headings, and their blocks of code with what comments say of them.

What belongs here: reading pages. What does not: what is to be true of them, which the tests say. CONTRIBUTING.md explains the comments.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
PAGES = tuple(sorted(path.relative_to(ROOT) for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md") for path in ROOT.glob(pattern)))
NOTES = ("session", "before", "file", "part of", "not run", "exit status")
"""What a comment can say: `<!-- file: config.yaml -->`."""
_NOTE = re.compile(r"<!-- ([a-z ]+): (.+?)\s+-->", re.DOTALL)
_MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A block of code; `notes` is what the comments right before it say, `line` where it begins."""

    page: Path
    line: int
    language: str
    text: str
    notes: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """A page's blocks, in order, and what its comments say of all of them: its session, or why its commands are not run."""

    path: Path
    notes: Mapping[str, str]
    blocks: tuple[Block, ...]

    def __str__(self) -> str:
        return str(self.path)


def read_page(path: Path) -> Page:
    """Return a page's blocks and what comments say of them. Raises ValueError for a comment that no block follows, or that is not known."""
    return parse_page(path, (ROOT / path).read_text())


def parse_page(path: Path, text: str) -> Page:
    """Do the same with this text."""
    of_page: dict[str, str] = {}
    pending: dict[str, str] = {}
    found = []
    for token in _tokens(text):
        if token.type == "html_block":
            for key, value in _NOTE.findall(token.content):
                _keep(of_page if key == "session" or key.startswith("page ") else pending, key.removeprefix("page "), value)
        elif token.type == "fence":
            found.append(Block(path, (token.map or [0])[0] + 1, token.info.strip(), token.content, pending))
            pending = {}
        elif pending and token.type in {"paragraph_open", "heading_open"}:
            message = f"{path}: expected a block of code after the comment {pending}, found text"
            raise ValueError(message)
    return Page(path, of_page, tuple(found))


def _tokens(text: str) -> Iterator[Token]:
    return iter(_MARKDOWN.parse(text))


def _keep(notes: dict[str, str], key: str, value: str) -> None:
    if value in {"begin", "end"}:  # of what is generated
        return
    if key not in NOTES:
        message = f"expected one of {', '.join(NOTES)} in a comment, found {key!r}"
        raise ValueError(message)
    notes[key] = f"{notes[key]}\n{value}" if key in notes else value


FENCED = re.compile(r"^( *)(```+).*?^\1\2$", re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """Return a page without its blocks of code and without code in its lines."""
    return re.sub(r"(?<!`)`[^`\n]+`(?!`)", "``", FENCED.sub("", text))


def code_in_lines(text: str) -> list[str]:
    """Return the code that stands in a page's lines, not in blocks."""
    return [child.content for token in _tokens(text) for child in token.children or () if child.type == "code_inline"]


def headings(text: str) -> set[str]:
    """Return the anchors of a page's headings, as hosts of repositories make them: a second one of the same words has `-1` behind it."""
    anchors: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.+?) *$", FENCED.sub("", text), re.MULTILINE):
        anchor = re.sub(r"[^\w -]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        anchors[anchor] = anchors.get(anchor, -1) + 1
    return {anchor if not n else f"{anchor}-{n}" for anchor, last in anchors.items() for n in range(last + 1)}
