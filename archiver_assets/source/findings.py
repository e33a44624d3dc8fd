"""Findings: the reasons against archiving or purging a table.

What belongs here: a finding, the work it stops, and refusing that work. What does not: the checks (`catalog.py`, `preflight.py`).
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
"""The names of findings that granting a right resolves."""

ALL_RIGHTS = "archiver roles prints the SQL of all rights"
"""The end of a hint about one missing right."""


@dataclass(frozen=True)
class Finding:
    """One finding: its `name` in snake case, `what` was found, for people, the next step as `hint`, and the work that it `stops`."""

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
        """The work that it stops, as text: `archive and purge`, one of them, or `nothing`."""
        return " and ".join(sorted(self.stops)) or "nothing"

    @property
    def line(self) -> str:
        """One line for people: the work it stops, what was found, and the next step."""
        effect = "warning" if self.is_warning else f"stops {self.stopped}"
        return f"{effect}: {self.what} ({self.hint})"


def as_accepted(findings: Iterable[Finding], config: TableConfig) -> list[Finding]:
    """Return the findings, turning those that the config accepts by name into warnings."""
    return [replace(each, stops=NOTHING) if each.name in config.accepted_risks else each for each in findings]


def refuse(findings: Iterable[Finding], config: TableConfig, work: Work) -> None:
    """Raise TableRefused, with every finding that stops `work` in one message."""
    stopping = [each for each in findings if work in each.stops]
    if stopping:
        done = "archived and purged" if config.purge else "archived"
        message = f"table {config.label} cannot be {done} safely: {'; '.join(each.what for each in stopping)}"
        raise TableRefused(message, hint="; ".join(dict.fromkeys(each.hint for each in stopping)))
