"""What a user meets in the real UI, with a real browser: the whole story, once."""

from pathlib import Path

import pytest
from playwright.sync_api import Error as PlaywrightError

from archiver_assets_tests.browser.chromium import BINARY_VARIABLE, find_chromium, open_page
from archiver_assets_tests.browser.site import open_site
from archiver_assets_tests.browser.story import DAYS, ROWS, Story
from archiver_assets_tests.browser.user import User
from archiver_assets_tests.dagster_processes import signal_group

ALBUM = Path(__file__).parents[2] / ".screenshots"


@pytest.mark.timeout(900)  # a minute on a quiet machine
def test_a_user_archives_purges_and_restores_in_the_browser_and_damage_stops_the_purge() -> None:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip(f"found no Chromium: install it (on Debian: apt-get install chromium), or set {BINARY_VARIABLE}")
    ALBUM.mkdir(exist_ok=True)
    with open_site(days=DAYS, rows_per_day=ROWS) as site, open_page(chromium) as page:
        groups = [process.pid for process in site.dagster.processes.values()]
        try:
            Story(site.stage, User(page, site.dagster.url, ALBUM)).tell()
        except (AssertionError, PlaywrightError):
            page.screenshot(path=ALBUM / "failed.png")
            (ALBUM / "failed.log").write_text(site.dagster.logs())
            raise

    assert None not in groups
    assert [group for group in groups if group and signal_group(group, 0)] == []
