"""What a look at a table finds that speaks against archiving or purging it.

What belongs here: one finding, what it stops, and refusing. What does not: looking (`catalog.py`, `preflight.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from archiver_assets.config import TableConfig
from archiver_assets.errors import TableRefused

Work = Literal["archive", "purge"]
Stops = Literal["archive and purge", "purge", "nothing"]

OF_RIGHTS = frozenset({"no_usage", "no_select", "no_delete", "not_owned", "no_maintain", "hidden_replication_lag"})
"""The names of findings that a right would mend."""

ALL_RIGHTS = "archiver roles prints the SQL of all rights"
"""What follows in a hint on the one right that is missing."""


@dataclass(frozen=True)
class Finding:
    """One thing found: `name` in snake case, `what` for people, `hint` the next step. One that stops nothing is a warning."""

    name: str
    what: str
    hint: str
    stops: Stops = "archive and purge"

    @property
    def line(self) -> str:
        """One line for people: what it stops, what it is, and the next step."""
        effect = "warning" if self.stops == "nothing" else f"stops {self.stops}"
        return f"{effect}: {self.what} ({self.hint})"


def as_accepted(findings: Iterable[Finding], config: TableConfig) -> list[Finding]:
    """Return the findings, with those whose names the config accepts turned into warnings."""
    return [replace(each, stops="nothing") if each.name in config.accepted_risks else each for each in findings]


def refuse(findings: Iterable[Finding], config: TableConfig, work: Work) -> None:
    """Raise TableRefused, with every finding that stops `work` in one message."""
    stopping = [each for each in findings if work in each.stops]
    if stopping:
        done = "archived and purged" if config.purge else "archived"
        message = f"table {config.label} cannot be {done} safely: {'; '.join(each.what for each in stopping)}"
        raise TableRefused(message, hint="; ".join(dict.fromkeys(each.hint for each in stopping)))
