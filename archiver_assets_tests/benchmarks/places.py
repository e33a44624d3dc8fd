"""The paths of the benchmarks' files."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / ".bench"
"""The folder for JSON and charts of the newest runs, which git ignores."""
