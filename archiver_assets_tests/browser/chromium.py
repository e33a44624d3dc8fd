"""A headless Chromium of the machine's own, driven by Playwright.

What belongs here: finding the browser and starting it so that it speaks to loopback only. What does not: pages. Playwright's own download
of browsers is not used: what runs is what the system has installed and keeps up to date.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

BINARY_VARIABLE = "ARCHIVER_CHROMIUM_BIN"
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
APPLICATIONS = (
    Path("/Applications/Chromium.app/Contents/MacOS/Chromium"),
    Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
)
# No sandbox: it needs rights that root in a container does not give it, and the pages are ours. No talk with the browser's maker.
FLAGS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
)
PATIENCE = 60.0
"""Seconds for whatever takes an instant on a quiet machine."""


def find_chromium() -> Path | None:
    """Return the browser that ARCHIVER_CHROMIUM_BIN names, or the first one that is installed, or None."""
    if named := os.environ.get(BINARY_VARIABLE):
        return Path(named)
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    return Path(found) if found else next((path for path in APPLICATIONS if path.exists()), None)


@contextmanager
def open_page(chromium: Path) -> Iterator[Page]:
    """Open a window of 1280 x 800 with an empty profile; close the browser at the end of the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS, timeout=PATIENCE * 1000)
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce", timezone_id="UTC", locale="en-US")
            page.set_default_timeout(PATIENCE * 1000)
            yield page
        finally:
            browser.close()
