"""The site of the docs is built without a warning, without network, and needs nothing of other hosts to be read."""

import re
import subprocess
import sys
from pathlib import Path

from archiver_assets_tests.pages import PAGES, ROOT


def test_the_site_is_built_without_a_warning_and_has_every_page(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-qWEn", "--keep-going", "-d", tmp_path / "doctrees", ROOT / "docs", tmp_path / "html"], check=True
    )

    made = {path.relative_to(tmp_path / "html") for path in (tmp_path / "html").rglob("*.html")}
    assert {page.relative_to("docs").with_suffix(".html") for page in PAGES if page.parts[0] == "docs"} <= made
    index = (tmp_path / "html" / "index.html").read_text()
    assert all(f'href="{page}"' in index for page in map(str, made) if page.endswith("/index.html"))
    loaded = re.findall(
        r'<(?:script|img|link|iframe)\b[^>]*?(?:src|href)="([^"]+)"', "".join((tmp_path / "html" / each).read_text() for each in made)
    )
    assert loaded
    assert [each for each in loaded if "//" in each] == []
