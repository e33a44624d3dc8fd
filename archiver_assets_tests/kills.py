"""A process that ends, or a connection that is lost, at a step, without either. What does not belong here: real signals (`torture/`)."""

from collections.abc import Callable

from archiver_assets.errors import SourceUnavailable
from archiver_assets.lifecycle.task import Step


class Killed(BaseException):
    """Stands for the end of the process."""


def kill_at(step: Step, nth: int = 1) -> Callable[[Step], None]:
    """Return a hook that ends a verb when it reaches a step for the n-th time."""

    def kill() -> None:
        raise Killed

    return after(step, kill, nth)


def after(step: Step, do: Callable[[], object], nth: int = 1) -> Callable[[Step], None]:
    """Return a hook that does something when a verb reaches a step for the n-th time."""
    left = [nth]

    def reached(found: Step) -> None:
        left[0] -= found is step
        if found is step and left[0] == 0:
            do()

    return reached


def lose_connection() -> None:
    """Fail as a session does whose connection was lost: the verb begins again."""
    message = "the connection was lost"
    raise SourceUnavailable(message, hint="wait")
