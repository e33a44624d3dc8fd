"""How a failed step reads in Dagster's UI: the archiver's own words first.

What belongs here: turning our errors into Dagster's Failure. What does not: any other error, which is a bug and keeps its trace.

An exception of the body's own would be shown as "Error occurred while executing op", with the trace, and its message at the very end.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from archiver_assets.errors import ArchiverError, NotVerified


@contextmanager
def failing_clearly() -> Iterator[None]:
    """Raise `dagster.Failure` for an ArchiverError of the block, with the error as its cause."""
    try:
        yield
    except ArchiverError as error:
        description = f"{type(error).__name__}: {error}"
        rejected = {"generations_rejected": dg.MetadataValue.int(error.rejected)} if isinstance(error, NotVerified) else {}
        raise dg.Failure(
            description,
            metadata={
                "error": dg.MetadataValue.text(type(error).__name__),
                "what": dg.MetadataValue.text(error.message),
                "next_step": dg.MetadataValue.text(error.hint),
                "transient": dg.MetadataValue.bool(error.transient),
                **rejected,
            },
        ) from error
