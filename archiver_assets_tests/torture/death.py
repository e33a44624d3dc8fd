"""Where a process that is to die dies. What does not belong here: how it gets there."""

import signal
from dataclasses import dataclass

from archiver_assets.lifecycle.task import Step


@dataclass(frozen=True)
class Death:
    """The process sends itself a signal when it reaches a step for the n-th time."""

    step: Step
    signal: signal.Signals
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.signal.name} at {self.step!r}, time {self.nth}"
