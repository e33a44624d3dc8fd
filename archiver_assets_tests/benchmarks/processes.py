"""The CPU time of a forking server, from /proc: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html.

What belongs here: adding up a main process, its running children, and ended ones. psutil reads the same files, but on macOS does not report
ended children, which hold the CPU time of every session that has ended.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ticks:
    """The CPU time of one process in clock ticks: its own, and that of ended children that it has waited for."""

    parent: int
    own: int
    ended: int


class Proc:
    """The processes of this machine; none if there is no /proc."""

    def pids(self) -> Iterator[int]:
        """Return the ids of all processes on this machine."""
        return (int(path.name) for path in Path("/proc").glob("[0-9]*"))

    def ticks(self, pid: int) -> Ticks | None:
        """Return the CPU time of a process so far; None if there is no such process."""
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = text.rpartition(")")[2].split()  # the name before it may contain any character
        own_user, own_system, ended_user, ended_system = (int(field) for field in fields[11:15])
        return Ticks(int(fields[1]), own_user + own_system, ended_user + ended_system)


_PROC = Proc()


def cpu_seconds_of(pid: int, proc: Proc = _PROC) -> float | None:
    """Return the CPU seconds of a server's main process and of its children, including ended ones; None if there is no such process.

    If a child ends during the addition, it would be missed or counted twice, so the addition is repeated.
    """
    before = proc.ticks(pid)
    while before is not None:
        children = [found for each in proc.pids() if (found := proc.ticks(each)) and found.parent == pid]
        after = proc.ticks(pid)
        if after is not None and after.ended == before.ended:
            return (after.own + after.ended + sum(child.own for child in children)) / os.sysconf("SC_CLK_TCK")
        before = after
    return None
