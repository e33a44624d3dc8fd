"""What the record of a run shows: whether it is a dry run, and which of the archiver's errors ended it.

What belongs here: reading records and serialized errors. What does not: the consequences.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from archiver_assets import errors

DATABASE_TAG: Final = "archiver/database"
TABLE_TAG: Final = "archiver/table"

OWN_ERRORS: Final = frozenset(
    name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, errors.ArchiverError)
)
"""The classes of `errors.py`, by name."""
FAILED_CHECK: Final = "DagsterAssetCheckFailedError"
"""What a blocking check's failed evaluation ends its run with; the evaluation itself, an event before it, says more."""

_DEEPEST_CAUSE: Final = 10
_WRAPPERS: Final = frozenset({"DagsterExecutionStepExecutionError", "Failure", "RetryRequested"})
"""What Dagster puts around the error of a step, or an asset around the error of the lifecycle."""


def is_dry(run: dg.DagsterRun) -> bool:
    """Return whether any step of the run was asked for a dry run: then all of them are, whatever the others say.

    Half a dry run would be a trap: a purge that was not asked, beside an archive that only pretends.
    """
    ops = run.run_config.get("ops", {})
    return isinstance(ops, dict) and any(_asks_for_dry_run(settings) for settings in ops.values())


def _asks_for_dry_run(settings: object) -> bool:
    config = settings.get("config") if isinstance(settings, dict) else None
    # Anything that is not plainly false, such as a variable that would have to be read, counts as a yes.
    return isinstance(config, dict) and config.get("dry_run", False) is not False


def root_error(error: SerializableErrorInfo | None) -> SerializableErrorInfo | None:
    """Return the first of our own errors among the causes, else the first cause that is no wrapper, else the last cause."""
    causes = list(islice(_causes(error), _DEEPEST_CAUSE))
    own = (each for each in causes if each.cls_name in OWN_ERRORS)
    return next(own, None) or next((each for each in causes if each.cls_name not in _WRAPPERS), causes[-1] if causes else None)


def _causes(error: SerializableErrorInfo | None) -> Iterator[SerializableErrorInfo]:
    while error is not None:
        yield error
        error = error.cause or error.context
