"""All comparisons, in the order in which they run on their workload: one that changes a table comes after those that read it.

What belongs here: the list, and choosing from it. What does not: the comparisons themselves, which are in the modules of `subjects/`.
"""

from collections.abc import Sequence

from archiver_assets_tests.benchmarks.comparing import Comparison
from archiver_assets_tests.benchmarks.subjects import archive, empty_day, extraction, job, latency, purge, restore, scale

COMPARISONS: Sequence[Comparison] = (
    *archive.COMPARISONS,
    *extraction.COMPARISONS,
    *restore.COMPARISONS,
    *latency.COMPARISONS,
    *empty_day.COMPARISONS,
    *purge.COMPARISONS,
    *job.COMPARISONS,
    *scale.COMPARISONS,
)


def choose(only: str, *, large: bool) -> list[Comparison]:
    """Return the named comparisons, or without names those that run by default.

    Names are separated by commas; each is a subject, or a subject with its workload. Raises ValueError for an unknown name.
    """
    wanted = {name.strip() for name in only.split(",") if name.strip()}
    known = {name for each in COMPARISONS for name in (each.name, each.id)}
    if unknown := wanted - known:
        message = f"expected names among {', '.join(sorted(known))}; found {', '.join(sorted(unknown))}"
        raise ValueError(message)
    named = [each for each in COMPARISONS if {each.name, each.id} & wanted or (not wanted and each.by_default)]
    return [each for each in named if not large or (each.large and each.workload.name == "wide")]
