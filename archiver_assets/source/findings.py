"""What a look at a table finds that speaks against archiving or purging it.

What belongs here: one finding, what it stops, and refusing. What does not: looking (`catalog.py`, `preflight.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from archiver_assets.config import TableConfig
from archiver_assets.errors import TableRefused

Work = Literal["archive", "purge"]
EVERYTHING: Final[frozenset[Work]] = frozenset(("archive", "purge"))
PURGE: Final[frozenset[Work]] = frozenset(("purge",))
NOTHING: Final[frozenset[Work]] = frozenset()

OF_RIGHTS = frozenset({"no_usage", "no_select", "no_delete", "not_owned", "no_maintain", "hidden_replication_lag"})
"""The names of findings that a right would mend."""

ALL_RIGHTS = "archiver roles prints the SQL of all rights"
"""What follows in a hint on the one right that is missing."""


@dataclass(frozen=True)
class Finding:
    """One thing found: `name` in snake case, `what` for people, `hint` the next step, and the work that it `stops`."""

    name: str
    what: str
    hint: str
    stops: frozenset[Work] = EVERYTHING

    @property
    def is_warning(self) -> bool:
        """Whether it stops nothing."""
        return not self.stops

    @property
    def stopped(self) -> str:
        """What it stops, in words: `archive and purge`, one of them, or `nothing`."""
        return " and ".join(sorted(self.stops)) or "nothing"

    @property
    def line(self) -> str:
        """One line for people: what it stops, what it is, and the next step."""
        effect = "warning" if self.is_warning else f"stops {self.stopped}"
        return f"{effect}: {self.what} ({self.hint})"


def as_accepted(findings: Iterable[Finding], config: TableConfig) -> list[Finding]:
    """Return the findings, with those whose names the config accepts turned into warnings."""
    return [replace(each, stops=NOTHING) if each.name in config.accepted_risks else each for each in findings]


def refuse(findings: Iterable[Finding], config: TableConfig, work: Work) -> None:
    """Raise TableRefused, with every finding that stops `work` in one message."""
    stopping = [each for each in findings if work in each.stops]
    if stopping:
        done = "archived and purged" if config.purge else "archived"
        message = f"table {config.label} cannot be {done} safely: {'; '.join(each.what for each in stopping)}"
        raise TableRefused(message, hint="; ".join(dict.fromkeys(each.hint for each in stopping)))
