"""Where files of the benchmarks lie. What does not belong here: servers (`site.py`)."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / ".bench"
"""JSON and charts of the newest runs, in git's ignored files."""
