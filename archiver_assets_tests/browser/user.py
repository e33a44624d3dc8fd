"""What a user of Dagster's UI does and sees: finds things by the words on the page, and waits for what is said there.

What belongs here: pages, buttons and words of the UI of the pinned version of Dagster. What does not: what the user is up to (`story.py`).
Nothing sleeps, and nothing is found by its class or its place in the markup, which change with every version.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Locator, Page, expect

from archiver_assets_tests.browser.chromium import PATIENCE

RUN_PATIENCE = 240.0
"""Seconds for a run or a backfill of a few days, which takes five seconds a day on a quiet machine."""

expect.set_options(timeout=PATIENCE * 1000)


@dataclass(frozen=True)
class User:
    """Someone at a browser."""

    page: Page
    url: str
    album: Path

    def picture(self, name: str) -> Path:
        """Keep what is seen, as a screenshot in the album."""
        expect(self.page.get_by_text("Loading…")).to_have_count(0)
        path = self.album / f"{name}.png"
        self.page.screenshot(path=path, animations="disabled")
        return path

    def opens_group(self, group: str, *tables: str) -> None:
        """Open the asset graph of a group, and see its tables."""
        self.page.goto(f"{self.url}/locations/archiver/asset-groups/{group}/lineage")
        for table in tables:
            expect(self.node(table)).to_be_visible()

    def node(self, name: str) -> Locator:
        """Return what bears a name in the graph; several tables have an `archive`."""
        return self.page.get_by_text(name, exact=True)

    def filters_graph(self, selection: str, *, away: str) -> None:
        """Narrow the graph, in Dagster's language of selections, until another node has gone."""
        self.page.get_by_label("Search and filter assets").focus()
        self.page.keyboard.insert_text(selection)
        self.page.keyboard.press("Enter")
        expect(self.node(away)).to_have_count(0)

    def opens_asset(self, *path: str, view: str = "overview", partition: str | None = None) -> None:
        """Open one view of an asset's page."""
        query = {"view": view} | ({"partition": partition} if partition else {})
        self.page.goto(f"{self.url}/assets/{'/'.join(path)}?{urlencode(query)}")
        expect(self.page.get_by_role("button", name=re.compile("Materialize"))).to_be_visible()

    def materializes(self, partitions: str) -> str:
        """Fill in the dialog for what the page shows: a day, or `[first...last]`; launch it, follow the message, and return the address."""
        self.page.get_by_role("button", name=re.compile("Materialize")).click()
        dialog = self.page.get_by_role("dialog")
        days = dialog.get_by_placeholder("No matching partitions")
        days.fill(partitions)
        days.press("Enter")
        dialog.get_by_role("button", name=re.compile("Launch (1 run|backfill)")).click()
        expect(self.page.get_by_text(re.compile("Launched run|Created backfill"))).to_be_visible()
        self.page.get_by_role("link", name="View", exact=True).click()
        expect(self.page).to_have_url(re.compile("/runs/"))
        return self.page.url

    def sees_run_end(self) -> str:
        """Wait on the page of a run until it has ended, and return how."""
        ends = self.page.get_by_text(re.compile("^(Success|Failure|Canceled)$")).first
        expect(ends).to_be_visible(timeout=RUN_PATIENCE * 1000)
        return ends.inner_text()

    def sees_runs_of_backfill(self, address: str, count: int, end: str) -> None:
        """Open the runs of a backfill and wait until so many have ended so."""
        self.page.goto(f"{address}?tab=runs")
        expect(self.page.get_by_text(end, exact=True)).to_have_count(count, timeout=RUN_PATIENCE * 1000)

    def sees_backfill_end(self, address: str) -> str:
        """Open a backfill, wait until Dagster has noticed its end, and return it. Its daemon looks once in half a minute."""
        self.page.goto(address)
        status = self.page.get_by_text("Status", exact=True).locator("..")
        expect(status).to_contain_text(re.compile("Succeeded|Failed|Canceled"), timeout=RUN_PATIENCE * 1000)
        return status.inner_text().removeprefix("Status").strip()

    def sees(self, text: str | re.Pattern[str]) -> None:
        """Wait until the page says something."""
        expect(self.page.get_by_text(text).first).to_be_visible()

    def left_of(self, name: str) -> float:
        """Return how far to the right a node of the graph begins, in pixels."""
        box = self.node(name).bounding_box()
        assert box is not None, f"expected {name} in the graph"
        return box["x"]

    def sees_error(self, text: str) -> None:
        """See, on the page of a run, that its step failed with this."""
        self.page.get_by_placeholder("Filter…").fill("type:STEP_FAILURE")
        self.sees(re.compile(text))

    def plots_metadata(self, *names: str) -> None:
        """Let the asset's page plot its metadata, and see these."""
        self.page.get_by_text("Plots", exact=True).click()
        for name in names:
            expect(self.page.get_by_text(name, exact=True)).to_be_visible()
        expect(self.page.locator("canvas").first).to_be_visible()
