"""Every link of the docs leads somewhere, as a host of repositories shows them; those to other sites are well formed.

What does not belong here: links as the site has them, which `test_site.py` has checked, and whether other sites answer (`make links`).
"""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from archiver_assets_tests.pages import PAGES, ROOT, headings, prose

LINK = re.compile(r"\]\(([^)\s]+)\)")
BARE = re.compile(r"(?<![\w(`])https?://[^\s)>`\"']+")
SUFFIXES = {".py", ".yaml", ".md", ".toml", ".conf", ""}
FOLDERS = ("archiver_assets", "archiver_assets_tests", "deploy", "docs")
NESTED = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
FILES = sorted(path.relative_to(ROOT) for path in [*ROOT.iterdir(), *NESTED] if path.is_file() and path.suffix in SUFFIXES)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = prose((ROOT / page).read_text())
    assert [link for link in LINK.findall(text) if not leads_somewhere(ROOT / page, link)] == []
    assert [url for url in BARE.findall(text) if not well_formed(url)] == []


@pytest.mark.parametrize(
    "link", ["nowhere.md", "index.md#nowhere", "#nowhere", "http:/x", "https://example.com/a b", "/etc/x", "../../../etc"]
)
def test_a_link_that_leads_nowhere_is_found(link: str) -> None:
    assert not leads_somewhere(ROOT / "docs" / "index.md", link)


def test_every_page_is_reached_from_the_index_of_its_folder_or_lies_in_it() -> None:
    folders = {page.parent for page in PAGES if page.parts[0] == "docs"}
    assert [folder for folder in folders if not (ROOT / folder / "index.md").exists()] == []


def test_every_page_that_a_file_names_is_there() -> None:
    named = {
        (str(file), name)
        for file in FILES
        for name in re.findall(r"(?<![\w/.-])docs/[\w./-]+\.(?:md|svg|png)\b", (ROOT / file).read_text())
    }
    assert len(named) > 40
    assert [each for each in sorted(named) if not (ROOT / each[1]).exists()] == []


def leads_somewhere(page: Path, link: str) -> bool:
    """Return whether a link of this page is one to a file and a heading in the repository, or a well-formed one to another site."""
    if ":" in link:
        return well_formed(link)
    target, _, anchor = link.partition("#")
    linked = (page.parent / target).resolve() if target else page
    inside = linked.is_relative_to(ROOT) and not target.startswith("/")
    return inside and linked.exists() and (not anchor or (linked.suffix == ".md" and anchor in headings(linked.read_text())))


def well_formed(url: str) -> bool:
    """Return whether it is an address of a page: with a scheme of the web, a host, and no character that is to be quoted."""
    parts = urlsplit(url)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not re.search(r"[\s<>\"{}|\\^`]", url)
