"""How hypothesis runs in the unit tests: without a deadline, because the cores are shared and a slow moment is no failure."""

from hypothesis import settings

settings.register_profile("archiver", deadline=None)
settings.load_profile("archiver")
