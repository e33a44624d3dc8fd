"""Where a process that is to die dies. What does not belong here: how it gets there."""

from dataclasses import dataclass
from signal import Signals

from archiver_assets.lifecycle.task import Step


@dataclass(frozen=True)
class Death:
    """The process sends itself a signal when it reaches a step for the n-th time; without a step, its parent does, at a random moment."""

    step: Step | None
    signal: Signals
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.signal.name} at {self.step!r}, time {self.nth}" if self.step else f"{self.signal.name} at a random moment"
