"""The CPU of a server that forks, from /proc: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html.

What belongs here: adding up a main process, its children that live, and those that ended. psutil would read the same, and on macOS it knows
nothing of children that ended, which is where a session's CPU is once it is over.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ticks:
    """CPU of one process in clock ticks: its own, and that of the children that ended and that it has taken note of."""

    parent: int
    own: int
    ended: int


class Proc:
    """The processes of this machine. Without /proc there are none."""

    def pids(self) -> Iterator[int]:
        """Return the ids of all processes."""
        return (int(path.name) for path in Path("/proc").glob("[0-9]*"))

    def ticks(self, pid: int) -> Ticks | None:
        """Return what a process took so far, None if there is none."""
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = text.rpartition(")")[2].split()  # the name before it may hold anything
        own_user, own_system, ended_user, ended_system = (int(field) for field in fields[11:15])
        return Ticks(int(fields[1]), own_user + own_system, ended_user + ended_system)


_PROC = Proc()


def cpu_seconds_of(pid: int, proc: Proc = _PROC) -> float | None:
    """Return the CPU seconds of a server's main process and of its children, those that ended included; None if there is no such process.

    A child that ends while they are added up would be missed, or counted twice: then they are added up again.
    """
    before = proc.ticks(pid)
    while before is not None:
        children = [found for each in proc.pids() if (found := proc.ticks(each)) and found.parent == pid]
        after = proc.ticks(pid)
        if after is not None and after.ended == before.ended:
            return (after.own + after.ended + sum(child.own for child in children)) / os.sysconf("SC_CLK_TCK")
        before = after
    return None
