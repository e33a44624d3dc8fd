"""What several modules of unit tests need: hypothesis without a deadline, because the cores are shared and a slow moment is no failure."""

import pytest
from hypothesis import settings

from archiver_assets_tests.unit.production_files import ENVIRONMENT

settings.register_profile("archiver", deadline=None)
settings.load_profile("archiver")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables that dagster.yaml names."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return ENVIRONMENT
