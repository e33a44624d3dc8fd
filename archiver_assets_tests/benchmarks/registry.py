"""All comparisons, in the order in which they run on their workload: one that changes the table that others read comes after them.

What belongs here: the list, and choosing from it. What does not: any comparison; a subject is a module of `subjects/` that is named here.
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
    """Return those named, by a subject's name or with its workload's, separated by commas; without names those that run by default.

    Raises ValueError for a name that is none.
    """
    wanted = {name.strip() for name in only.split(",") if name.strip()}
    known = {name for each in COMPARISONS for name in (each.name, each.id)}
    if unknown := wanted - known:
        message = f"expected names among {', '.join(sorted(known))}; found {', '.join(sorted(unknown))}"
        raise ValueError(message)
    named = [each for each in COMPARISONS if {each.name, each.id} & wanted or (not wanted and each.by_default)]
    return [each for each in named if not large or (each.large and each.workload.name == "wide")]
