"""`make pictures`: the README's pictures, from the story that the browser test tells.

What belongs here: which pictures they are. What does not: what is to be seen on them (`story.py`).
"""

import shutil
import sys
import tempfile
from pathlib import Path

from archiver_assets_tests.browser.chromium import BINARY_VARIABLE, find_chromium, open_page
from archiver_assets_tests.browser.site import open_site
from archiver_assets_tests.browser.story import DAYS, ROWS, Story
from archiver_assets_tests.browser.user import User

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
CHOSEN = ("graph", "red_check", "plots")


def main() -> None:
    """Tell the story and keep three of its pictures."""
    chromium = find_chromium()
    if chromium is None:
        sys.exit(f"found no Chromium\nHINT: install it (on Debian: apt-get install chromium), or set {BINARY_VARIABLE}")
    with tempfile.TemporaryDirectory() as album, open_site(days=DAYS, rows_per_day=ROWS) as site, open_page(chromium) as page:
        Story(site.stage, User(page, site.dagster.url, Path(album))).tell()
        PICTURES.mkdir(parents=True, exist_ok=True)
        for name in CHOSEN:
            shutil.copy(Path(album, f"{name}.png"), PICTURES / f"{name}.png")
            sys.stdout.write(f"{PICTURES / name}.png\n")


if __name__ == "__main__":
    main()
