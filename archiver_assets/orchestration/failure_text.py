"""How Dagster's UI shows a failed step: the archiver's own message first.

What belongs here: turning the archiver's errors into Dagster's Failure. What does not: any other error, which is a bug and keeps its trace.

Dagster would show any other exception as "Error occurred while executing op" with its trace, and the message at the very end.
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
